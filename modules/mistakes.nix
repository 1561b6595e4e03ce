# Mistakes in the configuration of a host, each with the words by which its assertion, or
# its warning, tells it.
{ lib }:
let
  herculesCI = settings: { services.ci.herculesCI = settings; };
  secret = name: settings: {
    services.onepassword-secrets.secrets.${name} = { reference = "op://pantherOS/other/field"; } // settings;
  };
in
{
  no-opnix-module = {
    withoutOpnix = true;
    module = { };
    says = "needs the NixOS module of OpNix";
  };
  opnix-switched-off = {
    module.services.onepassword-secrets.enable = lib.mkForce false;
    says = "needs services.onepassword-secrets.enable, which is false";
  };
  dynamic-owner = {
    module = secret "atticCredentials" {
      owner = "atticd";
      group = "atticd";
    };
    says = "atticCredentials belongs to atticd:atticd";
  };
  unknown-group = {
    module = secret "tlsKey" { group = "caddy"; };
    says = "tlsKey belongs to root:caddy";
  };
  reference-without-scheme = {
    module = herculesCI { opnix.clusterJoinTokenReference = lib.mkForce "pantherOS/hercules-ci/cluster-join-token"; };
    says = "opnix.clusterJoinTokenReference is pantherOS/hercules-ci/cluster-join-token; a reference reads op://";
  };
  reference-without-field = {
    module = herculesCI { opnix.binaryCachesReference = lib.mkForce "op://pantherOS/hercules-ci"; };
    says = "opnix.binaryCachesReference is op://pantherOS/hercules-ci; a reference reads op://";
  };
  reference-of-effects = {
    module = herculesCI { opnix.secretsJsonReference = lib.mkForce "op://pantherOS//secrets"; };
    says = "opnix.secretsJsonReference is op://pantherOS//secrets; a reference reads op://";
  };
  agent-reads-elsewhere = {
    module.services.hercules-ci-agent.settings.clusterJoinTokenPath = lib.mkForce "/run/secrets/token";
    says = "The agent reads /run/secrets/token, services.ci.herculesCI.clusterJoinTokenPath is /var/lib/hercules-ci-agent/secrets/cluster-join-token.key";
  };
  opnix-writes-elsewhere = {
    module.services.onepassword-secrets.secrets.herculesBinaryCaches.path = lib.mkForce "/run/caches.json";
    says = "OpNix writes herculesBinaryCaches to /run/caches.json";
  };
  elsewhere-without-opnix = {
    module = {
      services.ci.herculesCI.opnix.enable = lib.mkForce false;
      services.onepassword-secrets.enable = lib.mkForce false;
      services.hercules-ci-agent.settings.binaryCachesPath = lib.mkForce "/run/caches.json";
    };
    says = "The agent reads /run/caches.json";
  };
  secret-for-everybody = {
    module.services.onepassword-secrets.secrets.herculesClusterToken.mode = lib.mkForce "0644";
    says = "herculesClusterToken has mode 0644";
  };
  secret-of-root = {
    module.services.onepassword-secrets.secrets.herculesBinaryCaches.owner = lib.mkForce "root";
    says = "herculesBinaryCaches has mode 0600 and owner root";
  };
  # As pantherOS' module calls it.
  token-twice = {
    module = secret "herculesClusterJoinToken" { path = "/var/lib/hercules-ci-agent/secrets/cluster-join-token.key"; };
    says = "OpNix writes herculesClusterJoinToken and herculesClusterToken to the same file";
  };
  one-file-for-two = {
    module = herculesCI { binaryCachesPath = "/var/lib/hercules-ci-agent/secrets/cluster-join-token.key"; };
    says = "OpNix writes herculesBinaryCaches and herculesClusterToken to the same file, /var/lib/hercules-ci-agent/secrets/cluster-join-token.key; give each";
  };
  token-in-store = {
    module.environment.etc.opnix-token.text = "ops_secret";
    says = ''environment.etc."opnix-token" is the token of OpNix'';
  };
  secret-in-store = {
    module = {
      services.ci.herculesCI.secretsJsonPath = "/etc/hercules-ci/secrets.json";
      environment.etc."hercules-ci/secrets.json".text = "{ }";
    };
    says = "environment.etc has the file of services.ci.herculesCI.secretsJsonPath, /etc/hercules-ci/secrets.json";
  };
  # As pantherOS' module does it.
  owner-at-each-switch = {
    warns = true;
    module.system.activationScripts.create-hercules-ci-dirs = {
      text = "chown -R hercules-ci-agent:hercules-ci-agent /var/lib/hercules-ci-agent";
      deps = [ ];
    };
    says = "system.activationScripts.create-hercules-ci-dirs has a chown -R below /var/lib/hercules-ci-agent";
  };
  token-made-empty = {
    warns = true;
    module.system.activationScripts.create-opnix-token-dir = ''
      mkdir -p /etc
      touch /etc/opnix-token
    '';
    says = "system.activationScripts.create-opnix-token-dir makes an empty /etc/opnix-token";
  };
  opnix-that-waits = {
    warns = true;
    module.systemd.services.opnix-secrets.serviceConfig = lib.mkForce { Type = "oneshot"; };
    says = "This OpNix is older than 0.10.1";
  };
  keys-by-opnix-alone = {
    module = secret "rootSshKeys" { path = "/root/.ssh/authorized_keys"; } // {
      users.users.root.openssh.authorizedKeys.keys = lib.mkForce [ ];
    };
    says = "services.onepassword-secrets.secrets.rootSshKeys writes the login keys of root, and users.users.root.openssh.authorizedKeys has no key";
  };
  deployer-without-key = {
    module = {
      services.hdeploy.users = [ "deploy" ];
      users.users.deploy.isNormalUser = true;
    };
    says = "hdeploy logs in as deploy, and users.users.deploy.openssh.authorizedKeys has no key";
  };
  deployer-unknown = {
    module.services.hdeploy.users = [ "deploy" ];
    says = "services.hdeploy.users has deploy, and users.users does not";
  };
  journal-in-memory = {
    warns = true;
    module.services.journald.storage = "volatile";
    says = "services.journald.storage is volatile";
  };
}
