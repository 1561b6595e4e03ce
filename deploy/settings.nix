# What deploy.toml says of a host, as far as an effect depends on it: a function from the
# file and the host's name. hdeploy reads the rest, and reads it strictly.
file: host:
let
  inherit (builtins)
    attrNames concatLists concatStringsSep elemAt filter foldl' fromTOML isAttrs isString length match readFile toString;

  toml = fromTOML (readFile file);
  fault = message: throw "hdeploy: ${baseNameOf (toString file)}: ${message}";

  own = toml.hosts.${host} or (fault "there is no [hosts.${host}]; it has ${concatStringsSep ", " (attrNames (toml.hosts or { }))}");

  # A list replaces that of the level before, { extend = [...] } comes behind it.
  list = key: foldl'
    (before: level: let value = level.${key} or { }; in if isAttrs value then before ++ value.extend or [ ] else value)
    [ ];
  above = [ (toml.defaults or { }) ];
  tags = list "tags" (above ++ [ own ]);
  levels = above ++ map (tag: toml.tags.${tag} or { }) tags ++ [ own ];

  keys = list "host_keys" levels;
  placeholders = filter (key: match ".*AAAA[.][.][.].*" key != null) keys;

  attribute = own.attribute or "nixosConfigurations.${host}.config.system.build.toplevel";
  named = match "nixosConfigurations[.](\"([^\"]+)\"|([^\".]+))[.]config[.]system[.]build[.]toplevel" attribute;

  # What holds for every effect; each is a message, or null.
  objections = filter (objection: objection != null) [
    (if own.system or true then null else "[hosts.${host}] has system = false: there is no system to deploy")
    (if (own.address or host) != "local" then null
    else "[hosts.${host}] has address = \"local\", which in an effect is the sandbox; its SSH address works there, 127.0.0.1 as well")
    (if !(isString (toml.ssh_config or null)) then null
    else "ssh_config = \"${toml.ssh_config}\" is a file that an effect does not have; write its settings into this file")
    (if keys != [ ] && placeholders == [ ] then null
    else "[hosts.${host}] has no host_keys, and nobody is there to be asked in an effect: `hdeploy trust ${host}` pins them")
  ];
in
{
  inherit attribute;

  # Of nixosConfigurations; null where the attribute leads elsewhere.
  configuration =
    if named == null then null
    else if elemAt named 1 != null then elemAt named 1
    else elemAt named 2;

  # The value, once the file suits an effect.
  checked = value: if objections == [ ] then value else fault (concatStringsSep "; " objections);

  inherit fault;
}
