# `lib` of hdeploy's flake: how other flakes deploy with it from CI. It needs no nixpkgs.
{ self }:
let
  inherit (import ./nix/expectations.nix) manifest;
  settings = import ./settings.nix;
  deployEffect = import ./effect.nix { inherit self manifest settings; };
in
{
  # What hdeploy would evaluate of a configuration, for builtins.toJSON: the file of
  # `--expectations`, which has to be of the same configuration as `--closure`.
  expectations = manifest;

  inherit deployEffect;
  deployEffects = import ./waves.nix { inherit deployEffect settings; };
  herculesCI = import ./hercules.nix;
}
