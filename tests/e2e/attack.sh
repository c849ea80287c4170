# shellcheck shell=sh
# shellcheck disable=SC2034,SC2154
# An innocent push beside an attack, for the tests and benchmarks that hold one
# beside the other.  Sourced after lib.sh, with $STORE set and the site running.
#
#	innocent_make DIR	a client of its own, with a token of its own
#	innocent_push NAME	`nix copy` of ten new paths, each but the first
#				references one: $innocent_ms is how long it took
#	attack COMMAND...	in the background, until attack_end

attack_pids=''

# A Nix client in DIR, whose token "innocent" is nobody else's.
innocent_make() {
	innocent=$1
	client_make "$innocent"
	tmpnix token add innocent --push --pull >"$innocent/netrc" \
	    2>>"$W/log/init.log" || stop "tmpnix token add innocent"
	sed -i "s|^netrc-file = .*|netrc-file = $innocent/netrc|" \
	    "$innocent/conf/nix.conf"
	nx "$innocent" nix-store --generate-binary-cache-key innocent-1 \
	    "$innocent/sk" "$innocent/pk"
}

# What it said is in $W/innocent.out.
innocent_push() {
	innocent_list='' innocent_last=
	mkdir -p "$W/innocent/$1"
	for innocent_i in 0 1 2 3 4 5 6 7 8 9; do
		innocent_f=$W/innocent/$1/path-$innocent_i
		echo "$1 $innocent_i $innocent_last" >"$innocent_f"
		innocent_last=$(nx "$innocent" nix-store --add "$innocent_f")
		innocent_list="$innocent_list $innocent_last"
	done
	innocent_begin=$(date +%s%N)
	# shellcheck disable=SC2086
	nx "$innocent" nix copy --to "$U/cache?secret-key=$innocent/sk" \
	    $innocent_list >"$W/innocent.out" 2>&1
	innocent_rc=$?
	innocent_ms=$((($(date +%s%N) - innocent_begin) / 1000000))
	cat "$W/innocent.out"
	return $innocent_rc
}

attack() {
	"$@" >>"$W/attack.out" 2>&1 &
	attack_pids="$attack_pids $!"
}
attack_end() {
	for attack_p in $attack_pids; do
		wait "$attack_p"
	done
	attack_pids=''
}

# The logs of the programs say nothing of locks, or of statements that were
# interrupted.
nothing_locked() {
	! grep -E 'locked|interrupted' "$W"/log/upload.log "$W"/log/cache.log
}

# narinfos N HOW: all of one NAR, which is sent; HOW they reference each other:
# ring, clique, chain (to the one before), backward (to the one behind).  Puts
# curl's list of their PUTs into $W/narinfos.list.
narinfos() {
	path_make "shared-$2" "shared by a $2 of $1"
	put "$key" "$nar"
	mkdir -p "$W/$2"
	N=$1 HOW=$2 DIR=$W/$2 INFO=$info STORE=$STORE URL=$U SECRET=$SECRET \
	    perl -e '
		sub hash { sprintf "%s%028d", { ring => "aaaa", clique => "bbbb",
		    chain => "cccc", backward => "dddd" }->{$ENV{HOW}}, shift }
		sub refs {
			my ($i, $n, $how) = (shift, $ENV{N}, $ENV{HOW});
			return ($i + 1) % $n if $how eq "ring";
			return grep { $_ != $i } 0 .. $n - 1 if $how eq "clique";
			return $i > 0 ? $i - 1 : () if $how eq "chain";
			return $i < $n - 1 ? $i + 1 : ();
		}
		open my $in, "<", $ENV{INFO} or die;
		my $rest = join "", grep { !/^(StorePath|References)/ } <$in>;
		open my $list, ">", "$ENV{DIR}.list" or die;
		for my $i (0 .. $ENV{N} - 1) {
			my $h = hash $i;
			open my $f, ">", "$ENV{DIR}/$h" or die;
			print $f "StorePath: $ENV{STORE}/$h-x\n", $rest,
			    "References: ", join(" ", map { hash($_) . "-x" }
			    refs $i), "\n";
			close $f;
			print $list "next\n" if $i > 0;
			print $list "upload-file = \"$ENV{DIR}/$h\"\n",
			    "url = \"$ENV{URL}/cache/$h.narinfo\"\n",
			    "user = \":$ENV{SECRET}\"\nsilent\n",
			    "output = /dev/null\n",
			    "write-out = \"%{http_code}\\n\"\n";
		}'
}
# narinfos_send HOW: what they were answered goes to $W/HOW.codes.
narinfos_send() {
	curl -q -Z --no-progress-meter --parallel-max 16 -K "$W/$1.list" \
	    >"$W/$1.codes"
}

# bomb MB TEXT NAME COMPRESSOR...: a NAR of so many MB of TEXT again and again,
# compressed, as $W/made/NAME.
bomb() {
	bomb_mb=$1 bomb_text=$2 bomb_name=$3
	shift 3
	mkdir -p "$W/made"
	MB=$bomb_mb TEXT=$bomb_text perl -e '
		sub s { pack("Q<", length $_[0]) . $_[0] .
		    "\0" x (-length($_[0]) % 8) }
		my $text = $ENV{TEXT} eq "zeros" ? "\0" : $ENV{TEXT};
		my $mb = substr $text x (1 + (1 << 20) / length $text), 0, 1 << 20;
		print &s("nix-archive-1"), &s("("), &s("type"), &s("regular"),
		    &s("contents"), pack("Q<", $ENV{MB} << 20);
		print $mb for 1 .. $ENV{MB};
		print &s(")")' | "$@" >"$W/made/$bomb_name"
}

# zeros_make GB NAME: a NAR of so many GB of zeros, some 100 kB as zstd, as
# $W/made/NAME.
zeros_make() {
	mkdir -p "$W/made"
	[ -e "$W/made/zeros-part" ] ||
	    head -c 67108864 /dev/zero | zstd -q -c >"$W/made/zeros-part"
	GB=$1 NAME=$2 perl -e '
		sub s { pack("Q<", length $_[0]) . $_[0] .
		    "\0" x (-length($_[0]) % 8) }
		print &s("nix-archive-1"), &s("("), &s("type"), &s("directory"),
		    &s("entry"), &s("("), &s("name"), &s($ENV{NAME}),
		    &s("node"), &s("("), &s("type"), &s("regular"),
		    &s("contents"), pack("Q<", $ENV{GB} << 30)' |
	    zstd -q -c >"$W/made/$2"
	for _ in $(seq $((16 * $1))); do
		cat "$W/made/zeros-part"
	done >>"$W/made/$2"
	perl -e 'sub s { pack("Q<", length $_[0]) . $_[0] .
		    "\0" x (-length($_[0]) % 8) }
		print &s(")"), &s(")"), &s(")")' | zstd -q -c >>"$W/made/$2"
}

# narinfo_claimed HASH KEY FILE: a narinfo of the NAR KEY, which is in FILE; what
# it says of its contents is made up.
narinfo_claimed() {
	narinfo_digest=${2#nar/}
	narinfo_digest=${narinfo_digest%%.*}
	cat <<EOT
StorePath: $STORE/$1-x
URL: $2
Compression: zstd
FileHash: sha256:$narinfo_digest
FileSize: $(wc -c <"$3")
NarHash: sha256:$narinfo_digest
NarSize: 1000
References: 
EOT
}
