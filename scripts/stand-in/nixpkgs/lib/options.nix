# Declarations of options, and the marks on definitions. A mark is what a module writes
# around a value; ./modules.nix takes them off.
lib:
let
  mark = type: fields: fields // { _type = type; };
in
{
  # Every field is known by name: another one is a mistake.
  mkOption =
    {
      type ? lib.types.anything,
      default ? null,
      defaultText ? null,
      example ? null,
      description ? null,
      apply ? null,
      readOnly ? false,
      internal ? false,
      visible ? true,
      relatedPackages ? null,
    }@fields:
    mark "option" ({ inherit type; } // fields);

  mkEnableOption =
    name:
    lib.mkOption {
      type = lib.types.bool;
      default = false;
      example = true;
      description = "Whether to enable ${name}.";
    };

  mkPackageOption =
    pkgs: name:
    {
      default ? name,
      nullable ? false,
      extraDescription ? "",
    }:
    lib.mkOption {
      type = if nullable then lib.types.nullOr lib.types.package else lib.types.package;
      default = pkgs.${lib.head (lib.toList default)};
      description = "The ${name} package to use. ${extraDescription}";
    };

  literalExpression = text: mark "literalExpression" { inherit text; };
  literalMD = text: mark "literalMD" { inherit text; };
  isOption = value: value._type or null == "option";

  mkIf = condition: content: mark "if" { inherit condition content; };
  mkMerge = contents: mark "merge" { inherit contents; };
  mkOverride = priority: content: mark "override" { inherit priority content; };
  mkOptionDefault = lib.mkOverride 1500;
  mkDefault = lib.mkOverride 1000;
  mkForce = lib.mkOverride 50;
  mkVMOverride = lib.mkOverride 10;
  mkOrder = priority: content: mark "order" { inherit priority content; };
  mkBefore = lib.mkOrder 500;
  mkAfter = lib.mkOrder 1500;
}
