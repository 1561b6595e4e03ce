# Types of options: what a value must be (check), and what several definitions make
# together (merge). A definition is { file, value }.
lib:
let
  inherit (builtins)
    attrNames
    concatMap
    elem
    filter
    isAttrs
    isBool
    isFloat
    isFunction
    isInt
    isList
    isPath
    isString
    map
    match
    toJSON
    toString
    ;

  values = map (definition: definition.value);

  # Several definitions are one value only where they agree.
  mergeEqual =
    path: definitions:
    let
      first = lib.head definitions;
    in
    if builtins.all (definition: definition.value == first.value) definitions then
      first.value
    else
      throw "The option `${lib.showOption path}' has conflicting definitions, in ${lib.concatMapStringsSep " and in " (definition: definition.file) definitions}";

  mergeOne =
    path: definitions:
    if builtins.length definitions == 1 then
      (lib.head definitions).value
    else
      throw "The option `${lib.showOption path}' is defined more than once, in ${lib.concatMapStringsSep " and in " (definition: definition.file) definitions}";

  make = description: check: { merge = mergeEqual; inherit description check; };
  isStringLike = value: isString value || isPath value || isAttrs value && (value ? outPath || value ? __toString);
  isJSON = value: value == null || isBool value || isInt value || isFloat value || isString value || isPath value || isList value || isAttrs value;

  types = rec {
    raw = make "raw value" (_: true) // { merge = mergeOne; };
    anything = make "anything" (_: true) // {
      merge =
        path: definitions:
        if builtins.all isAttrs (values definitions) && !builtins.any lib.isDerivation (values definitions) then
          (attrsOf anything).merge path definitions
        else
          mergeEqual path definitions;
    };
    unspecified = anything;
    bool = make "boolean" isBool;
    int = make "signed integer" isInt;
    float = make "floating point number" isFloat;
    number = either int float;
    str = make "string" isString;
    singleLineStr = make "string on one line" (value: isString value && match "[^\n]*\n?" value != null);
    nonEmptyStr = make "string that is not empty" (value: isString value && match "[ \t\n]*" value == null);
    strMatching = pattern: make "string matching the pattern ${pattern}" (value: isString value && match pattern value != null);
    separatedString = separator: make "string, joined by ${toJSON separator}" isString // {
      merge = _: definitions: lib.concatStringsSep separator (values definitions);
    };
    lines = separatedString "\n";
    commas = separatedString ",";
    envVar = separatedString ":";
    path = make "absolute path" (value: isStringLike value && builtins.substring 0 1 (toString value) == "/");
    pathInStore = make "path in the Nix store" (value: isStringLike value && match "/nix/store/.+" (toString value) != null);
    externalPath = make "absolute path outside the Nix store" (
      value: isString value && match "/.*" value != null && match "/nix/store/.*" value == null
    );
    package = make "package" (value: lib.isDerivation value || lib.isStorePath value) // { merge = mergeOne; };
    attrs = make "attribute set" isAttrs // { merge = _: definitions: builtins.foldl' (a: b: a // b) { } (values definitions); };
    json = make "JSON value" isJSON // {
      merge =
        path: definitions:
        if builtins.all isAttrs (values definitions) then
          (attrsOf json).merge path definitions
        else if builtins.all isList (values definitions) then
          lib.concatLists (values definitions)
        else
          mergeEqual path definitions;
    };

    ints = {
      positive = addCheck int (value: value > 0) // { description = "positive integer, meaning >0"; };
      unsigned = addCheck int (value: value >= 0) // { description = "unsigned integer, meaning >=0"; };
      between = low: high: addCheck int (value: value >= low && value <= high) // {
        description = "integer between ${toString low} and ${toString high} (both inclusive)";
      };
    };
    port = ints.between 0 65535;

    addCheck = type: check: type // { check = value: type.check value && check value; };

    enum = choices: make "one of ${lib.concatMapStringsSep ", " toJSON choices}" (value: elem value choices);

    nullOr = type: make "null or ${type.description}" (value: value == null || type.check value) // {
      merge =
        path: definitions:
        if builtins.all (value: value == null) (values definitions) then
          null
        else if elem null (values definitions) then
          throw "The option `${lib.showOption path}' is null in one place and not in another"
        else
          type.merge path definitions;
      emptyValue = null;
    };

    either = a: b: make "${a.description} or ${b.description}" (value: a.check value || b.check value) // {
      merge =
        path: definitions:
        if builtins.all a.check (values definitions) then
          a.merge path definitions
        else if builtins.all b.check (values definitions) then
          b.merge path definitions
        else
          mergeEqual path definitions;
    };
    oneOf = list: builtins.foldl' either (lib.head list) (lib.tail list);

    coercedTo =
      from: coerce: to:
      make "${to.description} or ${from.description} converted to it" (value: to.check value || from.check value) // {
        merge =
          path: definitions:
          to.merge path (
            map (definition: if from.check definition.value then definition // { value = coerce definition.value; } else definition) definitions
          );
      };

    uniq = type: type // { merge = mergeOne; };

    listOf = type: make "list of ${type.description}" isList // {
      emptyValue = [ ];
      merge =
        path: definitions:
        let
          items = concatMap (
            definition:
            lib.genList (index: {
              path = path ++ [ "[${toString index}]" ];
              inherit (definition) file;
              value = builtins.elemAt definition.value index;
            }) (builtins.length definition.value)
          ) definitions;
          merged = map (item: lib.mergeDefinitions item.path type [ { inherit (item) file value; } ]) items;
        in
        map (item: item.value) (filter (item: item.isDefined) merged);
    };
    nonEmptyListOf = type: addCheck (listOf type) (value: value != [ ]);

    attrsOf = type: make "attribute set of ${type.description}" isAttrs // {
      emptyValue = { };
      merge =
        path: definitions:
        let
          merged = builtins.zipAttrsWith (name: lib.mergeDefinitions (path ++ [ name ]) type) (
            map (
              definition:
              builtins.mapAttrs (_: value: {
                inherit (definition) file;
                inherit value;
              }) definition.value
            ) definitions
          );
        in
        builtins.mapAttrs (_: item: item.value) (lib.filterAttrs (_: item: item.isDefined) merged);
    };

    # Which names it has needs none of its values.
    lazyAttrsOf = type: attrsOf type // {
      merge =
        path: definitions:
        builtins.zipAttrsWith (name: found: (lib.mergeDefinitions (path ++ [ name ]) type found).value) (
          map (
            definition:
            builtins.mapAttrs (_: value: {
              inherit (definition) file;
              inherit value;
            }) definition.value
          ) definitions
        );
    };

    submodule = module: submoduleWith { modules = lib.toList module; };
    submoduleWith =
      {
        modules,
        specialArgs ? { },
        shorthandOnlyDefinesConfig ? true,
        description ? null,
      }:
      make "submodule" (value: isAttrs value || isFunction value || isPath value) // {
        emptyValue = { };
        merge =
          path: definitions:
          removeAttrs
            (lib.evalModules {
              prefix = path;
              specialArgs = specialArgs // {
                name = lib.last path;
              };
              modules = modules ++ map (
                definition:
                if isAttrs definition.value && shorthandOnlyDefinesConfig then
                  {
                    _file = definition.file;
                    config = definition.value;
                  }
                else
                  definition.value
              ) definitions;
            }).config
            [ "_module" ];
      };
    deferredModule = raw;
    functionTo = type: make "function that returns ${type.description}" isFunction // { merge = mergeOne; };
  };
in
types
