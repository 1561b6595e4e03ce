# The agent of Hercules CI, whose secrets OpNix fetches from 1Password: see
# docs/HERCULES_CI_SETUP.md. The token of
# OpNix itself is put on the host by hand, once: opnix token set
{
  services.ci = {
    enable = true;
    herculesCI = {
      enable = true;
      concurrentTasks = 4;
      opnix = {
        enable = true;
        clusterJoinTokenReference = "op://pantherOS/hercules-ci/cluster-join-token";
        binaryCachesReference = "op://pantherOS/hercules-ci/binary-caches";
        # Effects that log in somewhere need one more field, with the content of
        # secrets.json, and secretsJsonReference here. A field that 1Password does not have
        # would keep the other two from arriving.
      };
    };
  };
}
