# The packages of hdeploy, from its sources and the packages of a nixpkgs.
{ src }:
pkgs:
let
  version = "0.1.0";
  vendorHash = "sha256-icUU9BMyctQKB0iz42y0YX8b2Ft9wGgRf7nC71lC5YI=";
  meta = {
    description = "Deploys NixOS hosts over SSH and takes back what does not prove itself";
    homepage = "https://github.com/hbohlen/hdeploy";
    license = pkgs.lib.licenses.mit;
    mainProgram = "hdeploy";
    platforms = [
      "x86_64-linux"
      "aarch64-linux"
    ];
  };
in
{
  hdeploy = pkgs.buildGo126Module {
    pname = "hdeploy";
    inherit
      version
      src
      vendorHash
      meta
      ;

    # The agents for both processors are embedded, so they come first. A preBuild
    # would also run where the dependencies are fetched; a buildPhase does not.
    buildPhase = ''
      runHook preBuild
      bash scripts/build
      runHook postBuild
    '';
    installPhase = ''
      runHook preInstall
      install -D bin/hdeploy $out/bin/hdeploy
      runHook postInstall
    '';
    # An effect may have no PATH at all; a person's own Nix comes first.
    nativeBuildInputs = [ pkgs.makeBinaryWrapper ];
    postFixup = "wrapProgram $out/bin/hdeploy --suffix PATH : ${pkgs.nix}/bin";
    # The tests need root and a lab of real hosts: scripts/test.
    doCheck = false;
  };

  # What the NixOS module runs at boot.
  hdeploy-agent = pkgs.buildGo126Module {
    pname = "hdeploy-agent";
    inherit version src vendorHash;
    subPackages = [ "cmd/hdeploy-agent" ];
    env.CGO_ENABLED = 0;
    ldflags = [
      "-s"
      "-w"
    ];
    doCheck = false;

    meta = meta // {
      description = "The part of hdeploy that runs on the hosts";
      mainProgram = "hdeploy-agent";
    };
  };
}
