# A package set for the tests, without nixpkgs: plain derivations built by the
# machine's /bin/sh.  Overlays come as nixpkgs has them: <nixpkgs-overlays> is a
# file with a list of them, or a directory of them.
{ salt ? "" }:
let
  inherit (builtins)
    attrNames concatStringsSep currentSystem elemAt filter foldl' fromJSON
    genList listToAttrs map match pathExists readDir toString tryEval;

  overlays =
    let
      found = tryEval (toString <nixpkgs-overlays>);
      path = found.value;
      files = filter (n: match ".*\\.nix" n != null) (attrNames (readDir path));
    in
    if !found.success then [ ]
    else if pathExists (path + "/.")
    then map (n: import (path + "/${n}")) files
    else import path;

  # A package that has its name and what it depends on in it.
  mk = name: { deps ? [ ], ... }@args: derivation ({
    inherit name;
    system = currentSystem;
    builder = "/bin/sh";
    text = concatStringsSep "\n" ([ "${name}${salt}" ] ++ map toString deps);
    args = [
      "-c"
      ''
        PATH=/usr/bin:/bin
        mkdir -p $out/share
        printf '%s\n' "$text" >$out/share/text
        echo "built $name"
      ''
    ];
  } // removeAttrs args [ "deps" ]);

  numbered = prefix: n: f: listToAttrs (genList
    (i: {
      name = "${prefix}${toString i}";
      value = f i;
    })
    n);

  base = self: {
    inherit mk;

    # What everything with "low" below it is built on.
    low = mk "low" { };
    # What nothing is built on.
    other = mk "other" { };
    mid = mk "mid" { deps = [ self.low ]; };
    top = mk "top" { deps = [ self.mid self.other ]; };

    # A fixed-output one: its hash is that of "fixed" and a newline.
    fixed = derivation {
      name = "fixed";
      system = currentSystem;
      builder = "/bin/sh";
      args = [ "-c" "echo fixed >$out" ];
      outputHashMode = "flat";
      outputHashAlgo = "sha256";
      outputHash =
        "0c3071418e6356e614898c84ed064ca95e88551bc0811b534bdf1952ecdae534";
    };
    uses-fixed = mk "uses-fixed" { deps = [ self.fixed ]; };

    multi = derivation {
      name = "multi";
      system = currentSystem;
      builder = "/bin/sh";
      outputs = [ "out" "dev" "doc" ];
      inherit (self) low;
      args = [ "-c" "echo $low >$out; echo $out >$dev; echo doc >$doc" ];
    };
    uses-multi = mk "uses-multi" { deps = [ self.multi.dev self.low ]; };

    from-source = mk "from-source" { deps = [ ./src ]; };
    local = mk "local" { preferLocalBuild = true; };
    uses-local = mk "uses-local" { deps = [ self.local ]; };

    nested = {
      a = mk "nested-a" { deps = [ self.top ]; };
      deep.er = {
        b = mk "nested-b" { deps = [ self.nested.a self.multi ]; };
        list = [ (mk "nested-0" { }) (mk "nested-1" { }) ];
      };
      "dotted.name" = mk "dotted-name" { };
    };

    # One that can't be built, and one that needs it.
    broken = mk "broken" { args = [ "-c" "echo going to fail; exit 1" ]; };

    # What must not hurt the server.
    failing = throw "this package fails to evaluate";
    coloured = throw (fromJSON ''"\u001b[31;1mred\u001b[0m, a bell\u0007, a tab\t."'');
    undefined = self.no-such-attribute;
    number = 42;
    set = { one = self.low; two = self.other; recurseForDerivations = true; };
    reads-etc = mk "reads-etc" { text = builtins.readFile /etc/passwd; };
    # 2^60 calls.
    endless =
      let f = n: if n == 0 then 0 else f (n - 1) + f (n - 1);
      in mk "endless" { text = toString (f 60); };
    # 2^50 bytes.
    memory =
      let big = foldl' (s: _: s + s) "0123456789abcdef" (genList (i: i) 46);
      in mk "memory" { text = toString (builtins.stringLength big); };

    # 1,500 derivations, each of which depends on up to three others.
    big =
      let
        n = 1500;
        at = elemAt all;
        all = genList
          (i: mk "big-${toString i}" {
            deps =
              if i < 3 then [ self.low ]
              else [ (at (i - 1)) (at (i / 2)) (at (i - 3)) ];
          })
          (n - 1);
      in
      at (n - 2);
  }
  # 24 on low, a chain, and 24 on other, beside each other.
  // numbered "low-" 24 (i: mk "low-${toString i}" {
    deps = [ (if i == 0 then self.low else self."low-${toString (i - 1)}") ];
  })
  // numbered "other-" 24 (i: mk "other-${toString i}" {
    deps = [ self.other ];
  });

  self = foldl' (super: overlay: super // overlay self super) (base self)
    overlays;
in
self
