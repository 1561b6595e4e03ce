# Derivations made by busybox alone.
{ tools }:
let
  # Found through the directory: the store's name prefix on a file would hide the applet's name from busybox.
  busybox = "${tools}/busybox";
  prelude = builtins.concatStringsSep "\n" (
    map (applet: "${applet}() { ${busybox} ${applet} \"$@\"; }") [ "cat" "chmod" "cp" "dd" "ln" "mkdir" ]
  );
  system = "x86_64-linux";

  run =
    name: attributes: script:
    derivation (
      {
        inherit name system;
        builder = busybox;
        args = [ "sh" "-euc" "${prelude}\n${script}" ];
      }
      // attributes
    );
in
{
  inherit tools system run;
  version = "25.05.lab";

  tool = name: "${tools}/${name}";

  # A store directory. Entries: { path, text, executable ? false } or { path, link }.
  tree =
    name: entries:
    let
      indexes = builtins.genList (index: index) (builtins.length entries);
      variable = index: "text${toString index}";
      texts = builtins.filter (index: (builtins.elemAt entries index) ? text) indexes;
      step =
        index:
        let
          entry = builtins.elemAt entries index;
          # Quoted: unit names may hold a backslash.
          target = "\"$out\"/'${entry.path}'";
          directory = builtins.head (builtins.match "(.*/)?[^/]+" entry.path);
          place =
            if entry ? text then
              "cp \"\$${variable index}Path\" ${target}; chmod ${if entry.executable or false then "555" else "444"} ${target}"
            else
              "ln -s '${entry.link}' ${target}";
        in
        "mkdir -p \"$out\"/'${if directory == null then "" else directory}'; ${place}";
    in
    run name (
      {
        passAsFile = map variable texts;
      }
      // builtins.listToAttrs (
        map (index: {
          name = variable index;
          value = (builtins.elemAt entries index).text;
        }) texts
      )
    ) "mkdir \"$out\"\n${builtins.concatStringsSep "\n" (map step indexes)}";
}
