#!/bin/sh
# flake.nix, the package and the NixOS module, as far as that goes without
# nixpkgs: they are good Nix, say what they should of a stand-in for nixpkgs
# (tests/nix-stub.nix), and what the package does after make install works.
# shellcheck disable=SC1091,SC2016,SC2034,SC2154
. "$(dirname "$0")/lib.sh"
mkdir "$W/log" "$W/tmp"
client_make "$W/nix"

for f in flake.nix nix/package.nix nix/module.nix nix/test.nix; do
	ok "$f is Nix" nx "$W/nix" nix-instantiate --parse "$top_srcdir/$f"
done

# value EXPRESSION: with the stub's names, as JSON or, of a string, itself.
value() {
	nx "$W/nix" nix-instantiate --eval --strict --json -E "
	    with import $top_srcdir/tests/nix-stub.nix; $1" 2>"$W/log/eval.log" |
	    perl -pe 's/^"(.*)"$/$1/ and s/\\n/\n/g, s/\\t/\t/g, s/\\(.)/$1/g'
}

# The flake --------------------------------------------------------------------
flake="let nixpkgs = { inherit lib; legacyPackages.x86_64-linux = pkgs;
    legacyPackages.aarch64-linux = pkgs // { system = \"aarch64-linux\"; }; };
    flake = (import $top_srcdir/flake.nix).outputs {
	self = flake; inherit nixpkgs; }; in flake"
is "the flake has packages" "$(value "($flake).packages.aarch64-linux.default.pname")" \
    tmpnix
is "an overlay" "$(value "(($flake).overlays.default pkgs pkgs).tmpnix.pname")" \
    tmpnix
is "a module" "$(value "toString ($flake).nixosModules.default")" \
    "$top_srcdir/nix/module.nix"
is "checks" "$(value "builtins.attrNames ($flake).checks.x86_64-linux")" \
    '["nixos","package"]'
is "the package's version is ours" \
    "$(value "($flake).packages.x86_64-linux.default.version")" \
    "$(sed -n 's/^AC_INIT(\[tmpnix\], \[\([^]]*\)\].*/\1/p' \
    "$top_srcdir/configure.ac")"

# The package: what it does behind make install -----------------------------------
unset MAKEFLAGS MFLAGS MAKELEVEL DESTDIR
out=$W/store/x-tmpnix
make -C "$top_builddir" install prefix="$out" DESTDIR="$out" sysconfdir=/etc \
    localstatedir=/var runstatedir=/run \
    systemdsystemunitdir="$out/lib/systemd/system" >"$W/log/make.log" 2>&1 ||
    stop "make install"
value "(pkgs.callPackage $top_srcdir/nix/package.nix { }).postInstall" \
    >"$W/post.sh"
ok "postInstall" env out="$out" sh -eu "$W/post.sh"
is "what is in the package" "$(cd "$out" && find . -maxdepth 2 | sort |
    tr '\n' ' ')" ". ./bin ./bin/tmpnix ./bin/tmpnix-build \
./bin/tmpnix-post-build-hook ./etc ./etc/tmpnix ./lib ./lib/systemd \
./lib/sysusers.d ./lib/tmpfiles.d ./libexec ./libexec/tmpnix ./share \
./share/doc ./share/man ./share/tmpnix "
# Both parts, as NixOS puts them together.
mkdir "$W/n"
for part in http server; do
	sed "s|include /etc/|include $out/etc/|" \
	    "$out/share/tmpnix/nginx-$part.conf" >"$W/n/$part.conf"
done
cat >"$W/n/nginx.conf" <<EOT
pid $W/tmp/pid;
events { }
http {
	access_log off;
	client_body_temp_path $W/tmp;
	fastcgi_temp_path $W/tmp;
	proxy_temp_path $W/tmp;
	scgi_temp_path $W/tmp;
	uwsgi_temp_path $W/tmp;
	server {
		listen 127.0.0.1:$(free_port);
		server_name cache.test;
		include $W/n/server.conf;
	}
	include $W/n/http.conf;
}
EOT
ok "nginx takes its configuration in two parts" \
    nginx -t -e stderr -c "$W/n/nginx.conf"
is "which leave the virtual host to NixOS" \
    "$(grep -hE '^[[:space:]]*(listen|server_name|server \{)' "$W"/n/http.conf \
    "$W/n/server.conf")" ''

# The module --------------------------------------------------------------------
module="(evaluate $top_srcdir/nix/module.nix {
    enable = true;
    nginx = { enable = true; virtualHost = \"cache.test\"; };
    settings = { url = \"http://cache.test\"; threads = 48;
	want_mass_query = false; check_references = true; trusted_public_keys = [ \"a:b\" \"c:d\" ];
	\"file.nixpkgs\" = \"/srv/nixpkgs\"; };
}).config"
value "($module).environment.etc.\"tmpnix/tmpnix.conf\".source" >"$W/module.conf"
is "the settings are a tmpnix.conf" "$(cat "$W/module.conf")" \
    "check_references = yes
file.nixpkgs = /srv/nixpkgs
nix_bin_dir = /nix-package/bin
threads = 48
trusted_public_keys = a:b c:d
url = http://cache.test
want_mass_query = no"
sed -i '/^trusted/d' "$W/module.conf"
ok "which the programs take" "$top_builddir/tmpnix" -f "$W/module.conf" -n
is "the units are the package's" "$(value "($module).systemd.packages")" \
    '["/package"]'
is "each unit it names is in the package" "$(value "
    with ($module).systemd; builtins.concatStringsSep \"\\n\" (
	map (n: n + \".socket\") (builtins.attrNames sockets) ++
	map (n: n + \".timer\") (builtins.attrNames timers) ++
	map (n: n + \".service\") (builtins.attrNames services))" | sort)" \
    "$(find "$out/lib/systemd/system" -maxdepth 1 -type f -printf '%f\n' |
    sort)"
is "nginx's group may connect" "$(value \
    "($module).systemd.sockets.tmpnix-drv.socketConfig.SocketGroup")" nginx
is "the virtual host has our configuration" "$(value \
    "($module).services.nginx.virtualHosts.\"cache.test\".extraConfig")" \
    "include /package/share/tmpnix/nginx-server.conf;"
is "only tmpnix-upload is wanted at boot" "$(value "builtins.concatLists (
    map (n: ($module).systemd.services.\${n}.wantedBy or [ ])
	(builtins.attrNames ($module).systemd.services))")" '["multi-user.target"]'

e2e_end
