{
  services.ci = {
    enable = true;

    herculesCI = {
      enable = true;
      clusterJoinTokenPath = "/var/lib/hercules-ci-agent/secrets/cluster-join-token.key";
      binaryCachesPath = "/var/lib/hercules-ci-agent/secrets/binary-caches.json";
      secretsJsonPath = "/var/lib/hercules-ci-agent/secrets/secrets.json";
      concurrentTasks = 4;
      restartLast = true;

      opnix = {
        enable = true;
        clusterJoinTokenReference = "op://pantherOS/hercules-ci/cluster-join-token";
        binaryCachesReference = "op://pantherOS/hercules-ci/binary-caches";
        secretsJsonReference = "op://pantherOS/hercules-ci/secrets";
      };
    };
  };

  services.hdeploy.enable = true;

  users.users.root.openssh.authorizedKeys.keys = [
    "ssh-ed25519 AAAA... ann@laptop"
    "ssh-ed25519 AAAA... hercules-ci"
  ];
}
