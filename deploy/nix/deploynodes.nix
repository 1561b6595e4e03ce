# What hdeploy asks a flake that was written for deploy-rs: a function from what is wanted to a function from the flake's
# outputs to the answer. Only the settings that hdeploy knows are forced, and those of the wanted nodes alone; no path is,
# so that no system is evaluated here.
{ wanted, settings }: outputs:
let
  inherit (builtins)
    attrNames concatLists elem elemAt filter genList head intersectAttrs isAttrs isBool isInt isList isPath isString length
    listToAttrs map mapAttrs removeAttrs toString typeOf unsafeDiscardStringContext;

  take = n: list: genList (elemAt list) (if length list < n then length list else n);

  known = listToAttrs (map (name: { inherit name; value = null; }) settings);

  # Never a path value itself: to print it would copy the file that it names into the store.
  plain = value:
    if isString value || isPath value then unsafeDiscardStringContext (toString value)
    else if isBool value || isInt value || value == null then value
    else { is = typeOf value; };

  flat = value: if isList value then map plain value else plain value;

  # The values of the settings that are known, and the names of the others. What deploy-rs has no setting for stands in a set
  # of its own, which deploy-rs passes over.
  level = structure: set:
    let
      ours = set.hdeploy or { };
      own = if isAttrs ours then ours else { };
      prefixed = listToAttrs (map (name: { name = "hdeploy.${name}"; value = own.${name}; }) (attrNames own));
      named = removeAttrs set (structure ++ [ "hdeploy" ]) // prefixed;
    in
    {
      settings = mapAttrs (_: flat) (intersectAttrs known named);
      others = take 500 (filter (name: !(known ? ${name})) (attrNames named));
    };

  profile = node: name:
    let set = node.profiles.${name}; in
    if !(isAttrs set) then { inherit name; is = typeOf set; }
    else { inherit name; path = set ? path; } // level [ "path" ] set;

  describe = { name, only }:
    let
      node = outputs.deploy.nodes.${name};
      profiles = if isAttrs (node.profiles or null) then attrNames node.profiles else null;
    in
    if !(isAttrs node) then { inherit name; is = typeOf node; }
    else {
      inherit name;
      all = if profiles == null then [ ] else take 500 profiles;
      profiles = if profiles == null then null else map (profile node) (filter (p: only == [ ] || elem p only) profiles);
    } // level [ "profiles" ] node;

  nodes = outputs.deploy.nodes;

  # A name that was given as one word may be that of a node, dots and all.
  resolve = target:
    if target.word != null && nodes ? ${target.word} then { node = target.word; profile = null; }
    else { inherit (target) node profile; };

  targets = map resolve wanted;

  missing = concatLists (map
    (target:
      if !(nodes ? ${target.node}) then [ { inherit (target) node; profile = null; available = take 500 (attrNames nodes); } ]
      else if target.profile != null && !(nodes.${target.node}.profiles or { } ? ${target.profile})
      then [ { inherit (target) node profile; available = take 500 (attrNames (nodes.${target.node}.profiles or { })); } ]
      else [ ])
    targets);

  # Every node once, in the order in which they were named.
  unique = list: if list == [ ] then [ ] else [ (head list) ] ++ unique (filter (name: name != head list) list);

  chosen =
    if wanted == [ ] then map (name: { inherit name; only = [ ]; }) (attrNames nodes)
    else map
      (name:
        let mine = filter (target: target.node == name) targets; in
        {
          inherit name;
          only = if builtins.any (target: target.profile == null) mine then [ ] else map (target: target.profile) mine;
        })
      (unique (map (target: target.node) targets));
in
{ nix = builtins.nixVersion; }
// (
  if !(outputs ? deploy) then { noDeploy = true; available = take 500 (attrNames outputs); }
  else if !(isAttrs (outputs.deploy.nodes or null)) then { noNodes = true; }
  else if missing != [ ] then { inherit missing; }
  else { top = level [ "nodes" ] outputs.deploy; nodes = map describe chosen; }
)
