# An effect of Hercules CI that deploys one host. Everything is evaluated and built before
# it runs: the system, deploy.toml, and what the configuration expects of the host are
# named by store paths, and within the sandbox there is no flake.
{ self, manifest, settings }:
{
  # The packages for the agent that runs the effect, and hercules-ci-effects for these:
  # its flake's `lib.withPkgs pkgs`, or the module argument `hci-effects` of flake-parts.
  pkgs,
  hci-effects,
  # The host's name in deploy.toml, that file, and its system.
  host,
  config,
  nixosConfiguration,
  # The flake that hdeploy itself would evaluate. With it the attribute in deploy.toml is
  # compared with nixosConfiguration, and not only its name.
  flake ? null,
  # Whether to deploy, or only to make sure that it could be done.
  when ? true,
  # secrets.json of the agent has the private key under the name that is given here, in
  # data.privateKey.
  secretsMap ? { ssh = "default-ssh"; },
  secret ? "ssh",
  # Which commit this is, for the host's history: all digits of it, and the branch, which is
  # left out where its name is one that hdeploy would refuse.
  rev ? null,
  branch ? null,
  # { host, nixosConfiguration } that are deployed before, in this order. See waves.nix.
  after ? [ ],
  # For this host only.
  extraArgs ? [ ],
  hdeploy ? self.packages.${pkgs.stdenv.hostPlatform.system}.hdeploy,
}:
let
  inherit (builtins) attrNames concatStringsSep head match replaceStrings split toFile toJSON;

  quote = word:
    if match "[a-zA-Z0-9_./:=@%+-]+" word != null then word
    else "'${replaceStrings [ "'" ] [ "'\\''" ] word}'";

  option = name: value: if value == null then [ ] else [ name value ];

  # The name in front of a domain, which networking.hostName does not have.
  short = name: head (split "[.]" name);

  # deploy.toml and the flake must mean the same system by this host.
  agreed = { host, nixosConfiguration }:
    let
      file = settings config host;
      name = file.configuration;
      hostName = nixosConfiguration.config.networking.hostName or "";
      configurations = flake.nixosConfigurations or { };
      drvPath = configuration: configuration.config.system.build.toplevel.drvPath;
    in
    file.checked (
      if name == null then true
      else if flake == null then
        hostName == "" || short hostName == short name || file.fault
          "[hosts.${host}] is ${file.attribute}, and the configuration that was handed in has networking.hostName ${hostName}; flake = self compares the systems instead of their names"
      else if !(configurations ? ${name}) then
        file.fault "[hosts.${host}] is ${file.attribute}, and the flake has no such configuration, but ${concatStringsSep ", " (attrNames configurations)}"
      else
        drvPath configurations.${name} == drvPath nixosConfiguration || file.fault
          "[hosts.${host}] is ${file.attribute}, and the configuration that was handed in is another one"
    );

  deployToml = builtins.path { path = config; name = "deploy.toml"; };

  command = extra: target@{ host, nixosConfiguration }:
    assert agreed target;
    concatStringsSep " " (map quote (
      [
        "hdeploy" "effect" host
        "--closure" "${nixosConfiguration.config.system.build.toplevel}"
        "--expectations" "${toFile "expectations-${host}.json" (toJSON (manifest nixosConfiguration))}"
        "--config" "${deployToml}"
      ]
      ++ option "--rev" rev
      ++ option "--branch" (if branch != null && match "[A-Za-z0-9_][A-Za-z0-9_./+@#=-]{0,199}" branch != null then branch else null)
      ++ option "--secret" (if secret == "ssh" then null else secret)
      ++ extra
    ));

  commands = map (command [ ]) after ++ [ (command extraArgs { inherit host nixosConfiguration; }) ];
in
if !(secretsMap ? ${secret}) then
  throw "hdeploy: deployEffect of ${host}: secretsMap has no ${secret}, which is to be the key to log in with"
else
  hci-effects.runIf when (hci-effects.mkEffect {
    name = "hdeploy-${host}";
    inputs = [ hdeploy pkgs.nix ];
    inherit secretsMap;
    # The shell of an effect ends with the first command that fails.
    effectScript = concatStringsSep "\n" commands;
    passthru.prebuilt = nixosConfiguration.config.system.build.toplevel;
  })
