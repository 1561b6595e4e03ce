# Evaluations of the modules as derivations: what a host of them is, and that each
# mistake is told in words. They need no KVM, as tests in virtual machines would.
{
  pkgs,
  nixosModules,
  opnix,
  nixosSystem,
}:
let
  inherit (pkgs) lib;

  evaluate = modules: (nixosSystem { inherit modules; }).config;
  host = module: evaluate [ opnix nixosModules.hetzner-vps module ];
  told = config: map (assertion: assertion.message) (lib.filter (assertion: !assertion.assertion) config.assertions);

  mistakes = import ./mistakes.nix { inherit lib; };

  # Its own words, and no others: one mistake is one message.
  findMistake =
    name:
    {
      module,
      says,
      warns ? false,
      withoutOpnix ? false,
    }:
    let
      config = if withoutOpnix then evaluate [ nixosModules.hetzner-vps module ] else host module;
      messages = if warns then config.warnings else told config;
      ours = lib.filter (lib.hasInfix says) messages;
    in
    if lib.length ours == 1 then "${name}: ${lib.head ours}" else throw "${name} is told as ${builtins.toJSON messages}, not as: ${says}";
in
{
  # The name of it, so that nothing of the system is built.
  hetzner-vps = pkgs.writeText "hetzner-vps" (
    builtins.unsafeDiscardStringContext (host { }).system.build.toplevel.drvPath
  );
  mistakes = pkgs.writeText "mistakes" (
    lib.concatStringsSep "\n\n" (lib.mapAttrsToList findMistake mistakes)
  );
}
