# What of nixpkgs our Nix files use, as far as a test without nixpkgs needs it:
# enough to evaluate them and to see what they say.  It checks no types and
# merges no modules; see tests/e2e/64-nix.sh.
let
  lib = rec {
    genAttrs =
      names: f:
      builtins.listToAttrs (
        map (name: {
          inherit name;
          value = f name;
        }) names
      );
    cleanSource = x: x;
    makeBinPath = builtins.concatStringsSep ":";
    concatMapStringsSep =
      sep: f: xs:
      builtins.concatStringsSep sep (map f xs);
    optional = c: x: if c then [ x ] else [ ];
    platforms.linux = [ "x86_64-linux" ];
    generators.mkKeyValueDefault =
      { mkValueString }:
      sep: k: v:
      "${k}${sep}${mkValueString v}";
    literalExpression = text: text;
    mkDefault = x: x;
    mkEnableOption = description: { inherit description; };
    mkIf = condition: content: if condition then content else { };
    mkOption = x: x;
    types = {
      attrsOf = x: x;
      bool = "bool";
      int = "int";
      listOf = x: x;
      oneOf = x: x;
      package = "package";
      str = "str";
      submodule = x: x;
    };
  };
  mkDerivation = x: x // { outPath = "/package"; };
  # callPackage: the arguments by their names.
  callPackage =
    file: _:
    let
      f = import file;
    in
    f (builtins.mapAttrs (name: _: pkgs.${name} or "/${name}") (builtins.functionArgs f));
  pkgs = {
    inherit lib callPackage;
    system = "x86_64-linux";
    path = "/nixpkgs";
    stdenv.mkDerivation = mkDerivation;
    formats.keyValue =
      { mkKeyValue }:
      {
        generate =
          _: values:
          builtins.concatStringsSep "" (map (k: mkKeyValue k values.${k} + "\n") (builtins.attrNames values));
      };
    testers.runNixOSTest = test: test;
    mkShell = x: x;
  };
in
{
  inherit lib pkgs;

  # The configuration that a module makes of services.tmpnix = tmpnix.
  evaluate =
    module: tmpnix:
    let
      evaluated = import module {
        inherit lib pkgs;
        config = {
          services.tmpnix = tmpnix // {
            package = {
              outPath = "/package";
            };
            settings = (evaluated.config.services.tmpnix.settings or { }) // tmpnix.settings;
          };
          services.nginx.group = "nginx";
          nix.package = "/nix-package";
        };
      };
    in
    evaluated;
}
