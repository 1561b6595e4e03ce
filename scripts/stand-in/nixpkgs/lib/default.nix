# The part of nixpkgs' lib that this repository uses.
let
  inherit (builtins)
    attrNames
    attrValues
    concatLists
    concatStringsSep
    elem
    filter
    foldl'
    isList
    isPath
    isString
    listToAttrs
    map
    match
    ;

  lib = {
    inherit (builtins)
      all
      any
      attrNames
      attrValues
      concatLists
      concatMap
      concatStringsSep
      elem
      elemAt
      filter
      foldl'
      fromJSON
      functionArgs
      genList
      hasAttr
      head
      isAttrs
      isBool
      isFunction
      isInt
      isList
      isPath
      isString
      length
      listToAttrs
      mapAttrs
      replaceStrings
      split
      stringLength
      substring
      tail
      throw
      toJSON
      ;

    optional = condition: value: if condition then [ value ] else [ ];
    optionals = condition: values: if condition then values else [ ];
    optionalString = condition: text: if condition then text else "";
    optionalAttrs = condition: set: if condition then set else { };
    concatMapStringsSep = separator: make: list: concatStringsSep separator (map make list);
    concatStrings = concatStringsSep "";
    mapAttrsToList = make: set: map (name: make name set.${name}) (attrNames set);
    mapAttrs' = make: set: listToAttrs (lib.mapAttrsToList make set);
    nameValuePair = name: value: { inherit name value; };
    filterAttrs = wanted: set: removeAttrs set (filter (name: !wanted name set.${name}) (attrNames set));
    concatMapAttrs = make: set: foldl' (a: b: a // b) { } (lib.mapAttrsToList make set);
    genAttrs = names: make: listToAttrs (map (name: lib.nameValuePair name (make name)) names);
    attrByPath = path: default: set: if path == [ ] then set else if set ? ${builtins.head path} then lib.attrByPath (builtins.tail path) default set.${builtins.head path} else default;
    hasAttrByPath = path: set: path == [ ] || builtins.isAttrs set && set ? ${builtins.head path} && lib.hasAttrByPath (builtins.tail path) set.${builtins.head path};
    getAttrFromPath = path: lib.attrByPath path (throw "no attribute ${concatStringsSep "." path}");
    unique = foldl' (seen: value: if elem value seen then seen else seen ++ [ value ]) [ ];
    flatten = value: if isList value then builtins.concatMap lib.flatten value else [ value ];
    toList = value: if isList value then value else [ value ];
    zipAttrsWith = builtins.zipAttrsWith;
    recursiveUpdate =
      a: b:
      a
      // builtins.mapAttrs (
        name: value: if builtins.isAttrs (a.${name} or null) && builtins.isAttrs value then lib.recursiveUpdate a.${name} value else value
      ) b;
    subtractLists = unwanted: filter (value: !elem value unwanted);
    intersectLists = wanted: filter (value: elem value wanted);
    count = wanted: list: builtins.length (filter wanted list);
    last = list: builtins.elemAt list (builtins.length list - 1);
    init = list: builtins.genList (builtins.elemAt list) (builtins.length list - 1);
    hasPrefix = prefix: text: builtins.substring 0 (builtins.stringLength prefix) text == prefix;
    hasSuffix =
      suffix: text:
      let
        extra = builtins.stringLength text - builtins.stringLength suffix;
      in
      extra >= 0 && builtins.substring extra (-1) text == suffix;
    removePrefix = prefix: text: if lib.hasPrefix prefix text then builtins.substring (builtins.stringLength prefix) (-1) text else text;
    removeSuffix =
      suffix: text:
      if lib.hasSuffix suffix text then builtins.substring 0 (builtins.stringLength text - builtins.stringLength suffix) text else text;
    hasInfix = part: text: builtins.length (builtins.split (lib.escapeRegex part) text) > 1;
    escapeRegex =
      let
        special = [ "\\" "[" "{" "(" ")" "^" "$" "?" "*" "+" "|" "." ];
      in
      builtins.replaceStrings special (map (character: "\\" + character) special);
    escapeShellArg =
      value:
      let
        text = toString value;
      in
      if match "[[:alnum:],._+:@%/-]+" text != null then text else "'${builtins.replaceStrings [ "'" ] [ "'\\''" ] text}'";
    escapeShellArgs = lib.concatMapStringsSep " " lib.escapeShellArg;
    splitString = separator: text: filter isString (builtins.split (lib.escapeRegex separator) text);
    getExe = package: "${package}/bin/${package.meta.mainProgram or package.pname or package.name}";
    getExe' = package: name: "${package}/bin/${name}";
    isDerivation = value: value.type or null == "derivation";
    isStorePath = value: (isString value || isPath value) && match "/nix/store/[^/]+" (toString value) != null;
    warn = message: builtins.trace "warning: ${message}";
    warnIf = condition: message: if condition then lib.warn message else (value: value);
    throwIf = condition: message: if condition then throw message else (value: value);
    assertMsg = condition: message: condition || throw message;
    showOption = concatStringsSep ".";
    versionOlder = a: b: builtins.compareVersions a b < 0;
    versionAtLeast = a: b: builtins.compareVersions a b >= 0;
    fakeHash = "sha256-AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=";
    lowPrio = value: value;
    licenses.mit = {
      spdxId = "MIT";
    };
    systems.flakeExposed = [
      "x86_64-linux"
      "aarch64-linux"
    ];
    cleanSource = source: source;

    types = import ./types.nix lib;
  }
  // import ./options.nix lib
  // import ./modules.nix lib;
in
lib
