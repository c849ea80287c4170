# A NixOS test: the module on one machine, pushed to and read from.
module: {
  name = "tmpnix";

  nodes.machine =
    { ... }:
    {
      imports = [ module ];
      services.tmpnix = {
        enable = true;
        settings.url = "http://cache.test";
        nginx.virtualHost = "cache.test";
      };
      networking.hosts."127.0.0.1" = [ "cache.test" ];
      nix.settings = {
        experimental-features = [ "nix-command" ];
        substituters = [ ];
      };
    };

  testScript = ''
    machine.wait_for_unit("nginx.service")
    machine.wait_for_unit("tmpnix-cache.socket")
    machine.succeed("curl -sf http://cache.test/cache/nix-cache-info | grep StoreDir")
    machine.succeed("systemctl start tmpnix-upload.service")
    machine.succeed("runuser -u tmpnix -- tmpnix token add ci --push >/root/netrc")
    machine.succeed("nix-store --add /etc/hostname >/root/path")
    machine.succeed(
        "nix copy --option netrc-file /root/netrc --to http://cache.test/cache $(cat /root/path)"
    )
    machine.succeed("nix path-info --store http://cache.test/cache $(cat /root/path)")
  '';
}
