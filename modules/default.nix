# What a host of this repository imports.
{
  imports = [
    ./ci
    ./hdeploy
  ];
}
