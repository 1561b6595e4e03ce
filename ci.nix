# The agent of Hercules CI does not read this file: in a repository with a flake.nix it
# evaluates the flake's output `herculesCI`, and nothing else. Jobs and effects belong
# there. This answers the same to those who look here:
#
#   nix eval -f ci.nix herculesCI.ciSystems
{
  primaryRepo ? { },
  ...
}@arguments:
{
  herculesCI = (builtins.getFlake (toString ./.)).herculesCI (arguments // { inherit primaryRepo; });
}
