# NixOS module: services.tmpnix.  The units, with all they forbid, are the
# package's own (conf/systemd); this adds what a NixOS machine decides.
#
#   services.tmpnix = {
#     enable = true;
#     settings.url = "https://cache.example.org";
#     nginx.virtualHost = "cache.example.org";
#   };
#   services.nginx.virtualHosts."cache.example.org" = {
#     enableACME = true;
#     forceSSL = true;
#   };
#
# and once: runuser -u tmpnix -- tmpnix token add ci --push
#
# (Tested with a stand-in for nixpkgs only: see tests/e2e/64-nix.sh.)
{
  config,
  lib,
  pkgs,
  ...
}:

let
  cfg = config.services.tmpnix;
  stateDir = "/var/lib/tmpnix";
  programs = [
    "cache"
    "upload"
    "drv"
  ];

  valueString =
    v:
    if v == true then
      "yes"
    else if v == false then
      "no"
    else if builtins.isList v then
      lib.concatMapStringsSep " " toString v
    else
      toString v;
  format = pkgs.formats.keyValue {
    mkKeyValue = lib.generators.mkKeyValueDefault { mkValueString = valueString; } " = ";
  };
  configFile = format.generate "tmpnix.conf" cfg.settings;
in
{
  options.services.tmpnix = {
    enable = lib.mkEnableOption "tmpnix, a Nix binary cache that takes what nix copy pushes";

    package = lib.mkOption {
      type = lib.types.package;
      default = pkgs.callPackage ./package.nix { };
      defaultText = lib.literalExpression "pkgs.callPackage ./package.nix { }";
      description = "The tmpnix package to use.";
    };

    settings = lib.mkOption {
      type = lib.types.submodule {
        freeformType = lib.types.attrsOf (
          lib.types.oneOf [
            lib.types.bool
            lib.types.int
            lib.types.str
            (lib.types.listOf lib.types.str)
          ]
        );
        options.url = lib.mkOption {
          type = lib.types.str;
          example = "https://cache.example.org";
          description = "Where clients reach the web server; no slash at the end.";
        };
      };
      description = ''
        The keys of {manpage}`tmpnix.conf(5)`.  Secrets are files of mode 600
        that belong to the user tmpnix, never values here.
      '';
      example = lib.literalExpression ''
        {
          url = "https://cache.example.org";
          public_reads = false;
          "file.nixpkgs" = "''${pkgs.path}";
        }
      '';
    };

    nginx = {
      enable = lib.mkOption {
        type = lib.types.bool;
        default = true;
        description = "Whether to serve the cache by a virtual host of nginx.";
      };
      virtualHost = lib.mkOption {
        type = lib.types.str;
        example = "cache.example.org";
        description = ''
          The name of the virtual host; TLS and the like are set in
          {option}`services.nginx.virtualHosts`.
        '';
      };
    };
  };

  config = lib.mkIf cfg.enable {
    assertions = [
      {
        assertion = !(cfg.settings ? state_dir) || cfg.settings.state_dir == stateDir;
        message = "services.tmpnix.settings.state_dir: the units write to ${stateDir} only";
      }
    ];

    services.tmpnix.settings = {
      nix_bin_dir = lib.mkDefault "${config.nix.package}/bin";
    };

    environment.systemPackages = [ cfg.package ];
    environment.etc."tmpnix/tmpnix.conf".source = configFile;
    # Which of the two kinds of reads nginx's configuration includes.
    environment.etc."tmpnix/nginx".source =
      if cfg.settings.public_reads or true then
        "${cfg.package}/etc/tmpnix/nginx"
      else
        pkgs.runCommand "tmpnix-nginx" { } ''
          cp -r ${cfg.package}/etc/tmpnix/nginx $out
          chmod u+w $out $out/tmpnix_reads_public.conf
          cp $out/tmpnix_reads_private.conf $out/tmpnix_reads_public.conf
        '';

    users.users.tmpnix = {
      isSystemUser = true;
      group = "tmpnix";
      home = stateDir;
      description = "Nix binary cache";
    };
    users.groups.tmpnix = { };

    systemd.packages = [ cfg.package ];
    systemd.tmpfiles.packages = [ cfg.package ];
    systemd.sockets = lib.genAttrs (map (p: "tmpnix-${p}") programs) (_: {
      wantedBy = [ "sockets.target" ];
      socketConfig.SocketGroup =
        if cfg.nginx.enable then config.services.nginx.group else "tmpnix";
    });
    systemd.services =
      lib.genAttrs (map (p: "tmpnix-${p}") programs) (name: {
        restartTriggers = [ configFile ];
        # What waits in the spool goes on after a boot.
        wantedBy = lib.optional (name == "tmpnix-upload") "multi-user.target";
      })
      // {
        tmpnix-init.restartTriggers = [ configFile ];
        tmpnix-fsck = { };
      };
    systemd.timers.tmpnix-fsck.wantedBy = [ "timers.target" ];

    services.nginx = lib.mkIf cfg.nginx.enable {
      enable = true;
      appendHttpConfig = "include ${cfg.package}/share/tmpnix/nginx-http.conf;";
      virtualHosts.${cfg.nginx.virtualHost}.extraConfig =
        "include ${cfg.package}/share/tmpnix/nginx-server.conf;";
    };
  };
}
