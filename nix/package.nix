# pkgs.callPackage ./package.nix { }
{
  lib,
  stdenv,
  autoreconfHook,
  makeWrapper,
  pkg-config,
  brotli,
  check,
  coreutils,
  curl,
  expat,
  fcgi,
  gawk,
  gnutar,
  jansson,
  libarchive,
  libsodium,
  openssl,
  sqlite,
  util-linux,
  xz,
  zstd,
}:

stdenv.mkDerivation {
  pname = "tmpnix";
  version = "0.1";

  src = lib.cleanSource ../.;

  strictDeps = true;
  nativeBuildInputs = [
    autoreconfHook
    makeWrapper
    pkg-config
  ];
  buildInputs = [
    brotli
    curl
    expat
    fcgi
    jansson
    libarchive
    libsodium
    openssl
    sqlite
    xz
  ];

  # The places at run time; nothing is installed there.
  configureFlags = [
    "--sysconfdir=/etc"
    "--localstatedir=/var"
    "--runstatedir=/run"
  ];
  installFlags = [ "DESTDIR=${placeholder "out"}" ];
  enableParallelBuilding = true;

  # The other tests need a web server and Nix.
  doCheck = true;
  checkInputs = [ check ];
  checkFlags = [
    "E2E_TESTS="
    "LINT_TESTS="
  ];

  # nginx's configuration in the two parts that a NixOS module has places for:
  # what goes into http { }, and what goes into server { }.
  postInstall = ''
    mv "$out$out"/* "$out"/
    rm -r "$out/var" "$out/$(echo "$out" | cut -d / -f 2)"
    mkdir -p "$out/share/tmpnix"
    sed '/^server {/,$d' "$out/etc/tmpnix/nginx/tmpnix.conf" \
      >"$out/share/tmpnix/nginx-http.conf"
    sed -e '1,/^server {/d' -e '/^}/d' \
      -e '/^\tlisten /d' -e '/^\tserver_name /d' \
      "$out/etc/tmpnix/nginx/tmpnix.conf" >"$out/share/tmpnix/nginx-server.conf"
  '';

  # The builder's scripts; Nix itself is the machine's own.
  postFixup = ''
    for f in tmpnix-build tmpnix-post-build-hook; do
      wrapProgram "$out/bin/$f" --prefix PATH : ${
        lib.makeBinPath [
          coreutils
          curl
          gawk
          gnutar
          util-linux
          zstd
        ]
      }
    done
  '';

  meta = {
    description = "Small Nix binary cache that takes what nix copy pushes";
    mainProgram = "tmpnix";
    platforms = lib.platforms.linux;
  };
}
