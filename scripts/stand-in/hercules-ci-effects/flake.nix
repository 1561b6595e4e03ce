# What a user's flake takes from hercules-ci-effects, as little as it takes to evaluate
# effects without a network. An effect is a derivation that is never built; its arguments
# can be looked at. What mkEffect has no parameter for is refused.
{
  outputs =
    { self }:
    let
      parameters = {
        name = null;
        inputs = null;
        secretsMap = null;
        effectScript = null;
        userSetupScript = null;
        passthru = null;
      };
      unknown = arguments: builtins.attrNames (builtins.removeAttrs arguments (builtins.attrNames parameters));
      withPkgs = pkgs: {
        mkEffect =
          { name, inputs ? [ ], secretsMap ? { }, effectScript, passthru ? { }, ... }@arguments:
          if unknown arguments != [ ] then
            throw "mkEffect has no ${toString (unknown arguments)}"
          else
            derivation {
              name = "effect-${name}";
              system = pkgs.stdenv.hostPlatform.system;
              builder = "/bin/sh";
              secretsMap = builtins.toJSON secretsMap;
              isEffect = true;
              inherit effectScript inputs;
            }
            // { inherit passthru; }
            // passthru;
        runIf =
          condition: effect:
          (if condition then { run = effect; } else { dependencies = effect // { isEffect = false; buildDependenciesOnly = true; }; })
          // (if effect ? prebuilt then { inherit (effect) prebuilt; } else { })
          // { recurseForDerivations = true; };
      };
    in
    {
      lib = { inherit withPkgs; };
      # A module of the stand-in for flake-parts.
      flakeModule.perSystemArguments = { pkgs, ... }: { hci-effects = withPkgs pkgs; };
    };
}
