# One effect for each host, by name, in waves.
#
# Hercules CI starts all effects of a job side by side and knows no dependency between
# them; nor does it say in which order it starts jobs of one push, and whether a failed one
# holds up the next. So an effect does not wait for another one: each first deploys the
# hosts of all waves before its own. A host that runs its system already, as confirmed by
# whoever was there first, is only asked whether it is well; one whose deployment is under
# way is followed; one that went back ends the effect, red. No host of a wave is touched
# before every host of the waves before was seen to keep its new system.
{ deployEffect, settings }:
{
  # The names in deploy.toml, wave by wave.
  waves,
  flake,
  config,
  ...
}@arguments:
let
  inherit (builtins) concatLists elemAt filter foldl' genList length listToAttrs removeAttrs;

  hosts = concatLists waves;
  twice = filter (host: length (filter (other: other == host) hosts) > 1) hosts;

  target = host:
    let file = settings config host; name = file.configuration; in {
      inherit host;
      nixosConfiguration =
        if name == null then file.fault "[hosts.${host}] is ${file.attribute}, which is no configuration of the flake: use deployEffect"
        else flake.nixosConfigurations.${name}; # deployEffect looks whether it is there
    };

  before = n: map target (concatLists (genList (elemAt waves) n));

  effect = n: host: {
    name = host;
    value = deployEffect (removeAttrs arguments [ "waves" ] // target host // { after = before n; });
  };
in
if twice != [ ] then throw "hdeploy: deployEffects: ${builtins.head twice} is in the waves twice"
else listToAttrs (concatLists (genList (n: map (effect n) (elemAt waves n)) (length waves)))
