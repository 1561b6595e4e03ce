# What this repository takes from OpNix: its NixOS module, with the options, the checks
# and the units of release 0.11.
{
  description = "A stand-in for OpNix";

  inputs.nixpkgs.url = "nixpkgs";
  outputs = _: {
    nixosModules.default = ./module.nix;
  };
}
