# The module system: collects modules, declares their options, and merges their
# definitions by type and priority. What no module declares, and what does not fit the
# type, is an error that names the option and the file.
lib:
let
  inherit (builtins)
    attrNames
    concatMap
    elem
    filter
    foldl'
    functionArgs
    isAttrs
    isFunction
    isPath
    isString
    mapAttrs
    removeAttrs
    sort
    ;

  normalPriority = 100;
  normalOrder = 1000;
  typeOf = value: if isAttrs value then value._type or null else null;

  # The arguments that a module names and nobody handed in are asked of _module.args.
  apply =
    arguments: config: module:
    if isFunction module then
      module (
        arguments
        // mapAttrs (name: _: arguments.${name} or config._module.args.${name}) (functionArgs module)
      )
    else
      module;

  # { file, key, imports, options, config } of a module in any of the forms one is written in.
  load =
    arguments: config: parent: index: module:
    let
      isFile = isPath module || isString module;
      written = if isFile then import module else module;
      content = apply arguments config written;
      file = toString (content._file or (if isFile then module else parent));
      known = [
        "_file"
        "key"
        "imports"
        "options"
        "config"
        "disabledModules"
        "freeformType"
        "meta"
      ];
      explicit = content ? options || content ? config;
      strange = filter (name: !elem name known) (attrNames content);
    in
    if !isAttrs content then
      throw "${file}: a module is a set, not ${builtins.typeOf content}"
    else if explicit && strange != [ ] then
      throw "${file}: `${lib.head strange}' stands beside `options' or `config'; it belongs into `config'"
    else
      {
        inherit file;
        key = content.key or (if isFile then toString module else "${parent}:${toString index}");
        imports = content.imports or [ ];
        freeformType = content.freeformType or null;
        options = content.options or { };
        config =
          if explicit then
            content.config or { }
          else
            removeAttrs content [
              "_file"
              "key"
              "imports"
              "disabledModules"
              "meta"
              "freeformType"
            ];
      };

  # Each module once, after those it imports.
  collect =
    arguments: config: modules:
    let
      visit =
        parent: seen: list:
        (foldl' (
          state: module:
          let
            loaded = load arguments config parent state.index module;
            inner = visit loaded.key (state.seen // { ${loaded.key} = true; }) loaded.imports;
            next = {
              index = state.index + 1;
            };
          in
          if state.seen ? ${loaded.key} then
            state // next
          else
            next
            // {
              seen = inner.seen;
              modules = state.modules ++ inner.modules ++ [ loaded ];
            }
        ) { index = 0; modules = [ ]; inherit seen; } list);
    in
    (visit "a module" { } modules).modules;

  # One tree of options. The same option twice is an error, and so are options below an option.
  declare =
    path: declarations:
    builtins.zipAttrsWith (
      name: values:
      let
        here = path ++ [ name ];
        options = filter (value: lib.isOption value.tree) values;
      in
      if options == [ ] then
        declare here values
      else if builtins.length values > 1 then
        throw "The option `${lib.showOption here}' is already declared: in ${lib.concatMapStringsSep " and in " (value: value.file) values}"
      else
        (lib.head options).tree // { declaredIn = (lib.head options).file; }
    ) (map (declaration: mapAttrs (_: tree: { inherit tree; inherit (declaration) file; }) declaration.tree) declarations);

  # Marks above an option go down to each name in them, so that no condition is needed to
  # know which names there are.
  pushDown =
    path: definition:
    let
      value = definition.value;
      under = make: map (inner: inner // { value = mapAttrs (_: make) inner.value; });
      content = definition // { value = value.content; };
    in
    {
      "merge" = concatMap (content: pushDown path (definition // { value = content; })) value.contents;
      "if" = under (lib.mkIf value.condition) (pushDown path content);
      "override" = under (lib.mkOverride value.priority) (pushDown path content);
      "order" = under (lib.mkOrder value.priority) (pushDown path content);
    }
    .${if typeOf value == null then "none" else typeOf value} or (
      if isAttrs value then
        [ definition ]
      else
        throw "The option `${lib.showOption path}' is a set of options, and ${definition.file} gives it ${builtins.typeOf value}"
    );

  # Definitions without marks, each with its priority and order.
  discharge =
    definition:
    let
      value = definition.value;
      inner = fields: discharge (definition // fields // { value = value.content; });
    in
    {
      "merge" = concatMap (content: discharge (definition // { value = content; })) value.contents;
      "if" =
        if !builtins.isBool value.condition then
          throw "${definition.file}: mkIf is given ${builtins.typeOf value.condition}, not a bool"
        else if value.condition then
          inner { }
        else
          [ ];
      "override" = inner { inherit (value) priority; };
      "order" = inner { order = value.priority; };
    }
    .${if typeOf value == null then "none" else typeOf value} or [
      (definition // { priority = definition.priority or normalPriority; order = definition.order or normalOrder; })
    ];

  # What counts of all definitions of one option.
  effective =
    definitions:
    let
      all = concatMap discharge definitions;
      highest = foldl' (a: definition: if definition.priority < a then definition.priority else a) 9999 all;
    in
    sort (a: b: a.order < b.order) (filter (definition: definition.priority == highest) all);

  # The value of one option, or of one name in a set.
  mergeDefinitions =
    path: type: definitions:
    let
      found = effective definitions;
      wrong = filter (definition: !type.check definition.value) found;
      show = value: if isFunction value then "a function" else if isAttrs value then "a set" else builtins.toJSON value;
    in
    {
      isDefined = found != [ ];
      value =
        if found == [ ] then
          type.emptyValue or (throw "The option `${lib.showOption path}' is used, and no module defines it")
        else if wrong != [ ] then
          throw "A definition for option `${lib.showOption path}' is not of type `${type.description}'. ${(lib.head wrong).file} has ${show (lib.head wrong).value}"
        else
          type.merge path found;
    };

  evaluateOption =
    path: option: definitions:
    let
      given = concatMap discharge (filter (definition: definition.file != "the default of the option") definitions);
      default = lib.optional (option ? default) {
        file = "the default of the option";
        value = lib.mkOptionDefault option.default;
      };
      merged = mergeDefinitions path option.type (definitions ++ default);
    in
    if option.readOnly or false && builtins.length given > 1 then
      throw "The option `${lib.showOption path}' is read-only, and set more than once"
    else
      (option.apply or (value: value)) merged.value;

  evaluateTree =
    path: tree: freeform: definitions:
    let
      pushed = concatMap (pushDown path) definitions;
      below = name: map (definition: definition // { value = definition.value.${name}; }) (filter (definition: definition.value ? ${name}) pushed);
      strange = filter (found: found.names != [ ]) (
        map (definition: {
          inherit (definition) file;
          names = filter (name: !(tree ? ${name})) (attrNames definition.value);
        }) pushed
      );
      free = map (definition: definition // { value = removeAttrs definition.value (attrNames tree); }) pushed;
      values = mapAttrs (
        name: option:
        let
          here = path ++ [ name ];
        in
        if lib.isOption option then evaluateOption here option (below name) else (evaluateTree here option null (below name)).value
      ) tree;
      inner = map (name: (evaluateTree (path ++ [ name ]) tree.${name} null (below name)).checked) (
        filter (name: !lib.isOption tree.${name}) (attrNames tree)
      );
    in
    {
      value = values // (if freeform == null then { } else (mergeDefinitions path freeform free).value);
      checked =
        if strange != [ ] && freeform == null then
          throw "The option `${lib.showOption (path ++ [ (lib.head (lib.head strange).names) ])}' does not exist. It is defined in ${(lib.head strange).file}"
        else
          builtins.all (good: good) inner;
    };
in
{
  inherit mergeDefinitions;

  # { config, options } of modules. prefix is where they stand, for messages.
  evalModules =
    {
      modules,
      specialArgs ? { },
      prefix ? [ ],
    }:
    let
      internal = {
        _file = "the module system";
        options._module = {
          args = lib.mkOption {
            type = lib.types.lazyAttrsOf lib.types.raw;
            default = { };
          };
          freeformType = lib.mkOption {
            type = lib.types.raw;
            default = null;
          };
          check = lib.mkOption {
            type = lib.types.bool;
            default = true;
          };
        };
      };
      arguments = specialArgs // {
        inherit lib config options;
      };
      all = collect arguments config ([ internal ] ++ modules);
      options = declare prefix (
        map (module: {
          inherit (module) file;
          tree = module.options;
        }) all
      );
      freeforms = filter (type: type != null) (map (module: module.freeformType) all);
      evaluated = evaluateTree prefix options (if freeforms == [ ] then null else lib.head freeforms) (
        map (module: {
          inherit (module) file;
          value = module.config;
        }) all
      );
      # Nothing of it can be read where a name in it is unknown.
      config = builtins.seq evaluated.checked evaluated.value;
    in
    {
      inherit options;
      config = config;
      _module = config._module;
    };
}
