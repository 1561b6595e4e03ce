# What the real profile is for a guest of QEMU: its drivers in the first stage.
{
  boot.initrd.availableKernelModules = [
    "virtio_net"
    "virtio_pci"
    "virtio_blk"
    "virtio_scsi"
  ];
}
