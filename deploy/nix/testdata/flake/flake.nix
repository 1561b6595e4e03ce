# Hosts in the shape of NixOS, without nixpkgs: what an evaluation, a build and
# a copy can meet. The test puts a static busybox into ./tools.
{
  outputs = { self }:
    let
      system = "x86_64-linux";
      run = name: script: derivation {
        inherit name system;
        # The name of the file decides which applet busybox is, hence the directory.
        builder = "${./tools}/busybox";
        args = [ "sh" "-c" "PATH=${./tools}; ${script}" ];
      };
      part = n: run "part-${toString n}" ''
        echo "part ${toString n} begins"
        busybox mkdir $out
        busybox dd if=/dev/zero of=$out/data bs=1k count=${toString (n * 100)} 2>/dev/null
        echo "part ${toString n} ends"
      '';
      toplevel = name: parts: run "nixos-system-${name}-25.05" ''
        busybox mkdir $out
        echo '${toString parts}' > $out/parts
      '';
      host = name: parts: {
        config = {
          networking.hostName = name;
          system.build.toplevel = toplevel name parts;
          systemd.services = { };
          services = { };
        };
      };
      never = throw "this value must not be evaluated";
    in
    {
      nixosConfigurations = {
        web1 = host "web1" [ (part 1) (part 2) ];
        web2 = {
          config = (host "web2" [ (part 2) (part 3) ]).config // {
            services.onepassword-secrets = {
              enable = true;
              tokenFile = "/etc/opnix-token";
              outputDir = "/var/lib/opnix/secrets";
              users = never;
              configFiles = [ never ];
              defaults = { stage = "lab"; key = never; };
              systemdIntegration = { enable = true; services = [ "postgresql" ]; changeDetection = never; };
              secrets = {
                joinToken = {
                  reference = never;
                  path = "/var/lib/hercules-ci-agent/secrets/cluster-join-token.key";
                  owner = "hercules-ci-agent";
                  group = "hercules-ci-agent";
                  mode = "0400";
                  services = [ "hercules-ci-agent" ];
                };
                caches = {
                  reference = never;
                  path = null;
                  owner = "root";
                  group = "root";
                  mode = "0600";
                  services = { nginx.restart = true; hercules-ci-agent.restart = never; };
                  symlinks = [ "/etc/caches" ];
                };
                placed = {
                  reference = never;
                  path = "{stage}/{who}/file{gone}";
                  variables = { who = "me"; key = never; };
                };
              };
            };
            services.hercules-ci-agent = {
              enable = true;
              package = never;
              settings = {
                baseDirectory = "/var/lib/hercules-ci-agent";
                # A path, not a string: to print it must not copy it.
                clusterJoinTokenPath = /var/lib/hercules-ci-agent/secrets/cluster-join-token.key;
                labels = never;
              };
            };
            systemd.services = {
              opnix-secrets = {
                script = "/nix/store/00000000000000000000000000000000-opnix-0.10.1/bin/opnix secret -config x";
                serviceConfig = never;
              };
              hercules-ci-agent = { serviceConfig = { RestartSec = 120; ExecStart = never; }; script = never; };
              other = never;
            };
          };
        };
        disabled = {
          config = (host "disabled" [ ]).config // {
            services.onepassword-secrets = { enable = false; secrets = never; };
          };
        };
        agrees = {
          config = (host "agrees" [ ]).config // {
            services.openssh = {
              enable = true;
              ports = [ 22 2222 ];
              listenAddresses = [ { addr = never; port = 22022; } { addr = never; port = null; } ];
              settings = { PermitRootLogin = "no"; Ciphers = never; };
              hostKeys = never;
            };
            services.hdeploy = { enable = true; agent = never; users = [ "deploy" ]; requirePassword = true; };
            security = { sudo = { enable = false; extraRules = never; }; sudo-rs.enable = true; doas.enable = false; };
            users.users = { root = { }; deploy = { openssh.authorizedKeys.keys = [ "a" "b" ]; home = "/home/deploy"; }; };
            systemd.services.hercules-ci-agent = { restartIfChanged = false; after = [ ]; script = never; };
          };
        };
        "we\"ird \${x}.$\${host}\\" = host "weird" [ ];
        broken = host "broken" [ (run "failing-2.0" "echo about to fail; exit 3") ];
        foreign.config.system.build.toplevel = derivation { name = "foreign"; system = "aarch64-linux"; builder = "/none"; };
        warns = builtins.trace "a trace" (host "warns" [ ]);
        loops = host (let x = x; in x) [ ];
        throws = throw "Failed assertions:\n- a root password is missing";
        notBuilt.config.networking.hostName = "notBuilt";
        number.config.system.build.toplevel = 3;
        ifd = host (builtins.readFile (run "name-file" "echo reading a name; printf ifd > $out")) [ ];
        slow = host "slow" [ (run "slow-1.0" "echo sleeping; busybox sleep 300") ];
      };
      packages.${system}.tool = toplevel "tool" [ ];
      legacyPackages = never;
    };
}
