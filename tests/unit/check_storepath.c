#include "config.h"

#include <string.h>

#include "unit.h"

#include "storepath.h"

#define T(lit) lit, sizeof(lit) - 1
#define HASH "nixpx5v0h2byjpw09mcdgdr5finlj8y0"
#define A50 "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"
#define A211 A50 A50 A50 A50 "aaaaaaaaaaa"

struct row {
	const char *what;
	const char *text;
	size_t len;
	bool ok;
};

static const struct row names[] = {
	{ "plain", T("a-1.0"), true },
	{ "every kind of character", T("aZ09+-._?="), true },
	{ "one character", T("a"), true },
	{ "211 characters", T(A211), true },
	{ "three dots", T("..."), true },
	{ "a dot and a letter", T(".a"), true },
	{ "two dots and a letter", T("..a"), true },
	{ "three dots and a dash", T("...-a"), true },
	{ "a dash", T("-"), true },
	{ "nothing", T(""), false },
	{ "212 characters", T(A211 "a"), false },
	{ "a dot", T("."), false },
	{ "two dots", T(".."), false },
	{ "a dot and a dash", T(".-a"), false },
	{ "two dots and a dash", T("..-a"), false },
	{ "a dot and a dash alone", T(".-"), false },
	{ "a slash", T("a/b"), false },
	{ "a backslash", T("a\\b"), false },
	{ "a space", T("a b"), false },
	{ "a percent sign", T("a%20"), false },
	{ "an exclamation mark", T("a!out"), false },
	{ "a colon", T("a:b"), false },
	{ "a tilde", T("a~"), false },
	{ "NUL", T("a\0"), false },
	{ "LF", T("a\n"), false },
	{ "not ASCII", T("a\xc3\xa9"), false },
};

START_TEST(name)
{
	ck_assert_msg(
	    storepath_name_ok(names[_i].text, names[_i].len) == names[_i].ok,
	    "%s", names[_i].what);
}
END_TEST

static const struct row parts[] = {
	{ "one of Nix's", T(HASH), true },
	{ "every bit set", T("zzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzz"), true },
	{ "short", T("ixpx5v0h2byjpw09mcdgdr5finlj8y0"), false },
	{ "long", T(HASH "0"), false },
	{ "e", T("eixpx5v0h2byjpw09mcdgdr5finlj8y0"), false },
	{ "upper case", T("Nixpx5v0h2byjpw09mcdgdr5finlj8y0"), false },
	{ "a dot", T("nixpx5v0h2byjpw09mcdgdr5finlj8y."), false },
	{ "NUL", T("nixpx5v0h2byjpw09mcdgdr5finlj8y\0"), false },
	{ "nothing", T(""), false },
};

START_TEST(part)
{
	struct hash_part hp;

	ck_assert_msg(hash_part_parse(parts[_i].text, parts[_i].len, &hp) ==
		(parts[_i].ok ? 0 : -1),
	    "%s", parts[_i].what);
	if (parts[_i].ok)
		ck_assert_str_eq(hp.s, parts[_i].text);
}
END_TEST

static const struct row bases[] = {
	{ "plain", T(HASH "-a-1.0"), true },
	{ "the longest", T(HASH "-" A211), true },
	{ "no name", T(HASH "-"), false },
	{ "no dash", T(HASH), false },
	{ "another separator", T(HASH "_a"), false },
	{ "a bad hash part", T("eixpx5v0h2byjpw09mcdgdr5finlj8y0-a"), false },
	{ "a bad name", T(HASH "-a/b"), false },
	{ "a name of dots", T(HASH "-.."), false },
	{ "too long a name", T(HASH "-a" A211), false },
	{ "a store directory", T("/nix/store/" HASH "-a"), false },
	{ "nothing", T(""), false },
};

START_TEST(base)
{
	struct hash_part hp;

	ck_assert_msg(storepath_base_parse(bases[_i].text, bases[_i].len,
			  &hp) == (bases[_i].ok ? 0 : -1),
	    "%s", bases[_i].what);
	if (bases[_i].ok)
		ck_assert_str_eq(hp.s, HASH);
}
END_TEST

static const struct row drvs[] = {
	{ "a derivation", T(HASH "-a-1.0.drv"), true },
	{ "the name is .drv", T(HASH "-.drv"), true },
	{ "not a derivation", T(HASH "-a-1.0"), false },
	{ "no dot", T(HASH "-adrv"), false },
	{ "more behind it", T(HASH "-a.drv.x"), false },
	{ "upper case", T(HASH "-a.DRV"), false },
	{ "not a base name", T("a.drv"), false },
	{ "the ending alone", T(".drv"), false },
	{ "nothing", T(""), false },
};

START_TEST(drv)
{
	ck_assert_msg(
	    storepath_is_drv(drvs[_i].text, drvs[_i].len) == drvs[_i].ok, "%s",
	    drvs[_i].what);
}
END_TEST

static const struct {
	struct row r;
	const char *dir;
} paths[] = {
	{ { "the usual", T("/nix/store/" HASH "-a"), true }, "/nix/store" },
	{ { "a store of one's own", T("/tmp/nix/store/" HASH "-a"), true },
	    "/tmp/nix/store" },
	{ { "another store", T("/nix/store/" HASH "-a"), false },
	    "/tmp/nix/store" },
	{ { "a longer store", T("/nix/store2/" HASH "-a"), false },
	    "/nix/store" },
	{ { "below the store", T("/nix/store/x/" HASH "-a"), false },
	    "/nix/store" },
	{ { "another separator", T("/nix/store-" HASH "-a"), false },
	    "/nix/store" },
	{ { "two slashes", T("/nix/store//" HASH "-a"), false }, "/nix/store" },
	{ { "the store itself", T("/nix/store"), false }, "/nix/store" },
	{ { "no base name", T("/nix/store/"), false }, "/nix/store" },
	{ { "a file in a path", T("/nix/store/" HASH "-a/bin"), false },
	    "/nix/store" },
	{ { "a base name", T(HASH "-a"), false }, "/nix/store" },
	{ { "a slash at the end", T("/nix/store/" HASH "-a/"), false },
	    "/nix/store" },
	{ { "nothing", T(""), false }, "/nix/store" },
};

START_TEST(path)
{
	const struct row *r = &paths[_i].r;
	struct hash_part hp;
	const char *b = NULL;

	ck_assert_msg(storepath_parse(r->text, r->len, paths[_i].dir, &b,
			  &hp) == (r->ok ? 0 : -1),
	    "%s", r->what);
	if (r->ok) {
		ck_assert_str_eq(b, HASH "-a");
		ck_assert_str_eq(hp.s, HASH);
	}
}
END_TEST

static const struct row dirs[] = {
	{ "the usual", T("/nix/store"), true },
	{ "longer", T("/tmp/tmp.lwPRZO5UYF/store"), true },
	{ "one segment", T("/s"), true },
	{ "dots in a name", T("/a..b/.c/..d/..."), true },
	{ "nothing", T(""), false },
	{ "relative", T("nix/store"), false },
	{ "the root", T("/"), false },
	{ "a slash at the end", T("/nix/store/"), false },
	{ "two slashes", T("/nix//store"), false },
	{ "two slashes first", T("//nix/store"), false },
	{ "a dot", T("/nix/./store"), false },
	{ "a dot at the end", T("/nix/store/."), false },
	{ "two dots", T("/nix/../store"), false },
	{ "two dots at the end", T("/nix/store/.."), false },
	{ "a space", T("/nix/st ore"), false },
	{ "a line feed", T("/nix/store\n"), false },
	{ "DEL", T("/nix/store\x7f"), false },
};

START_TEST(dir)
{
	ck_assert_msg(storepath_dir_ok(dirs[_i].text) == dirs[_i].ok, "%s",
	    dirs[_i].what);
}
END_TEST

int
main(void)
{
	Suite *s = suite_create("storepath");

	UNIT_ROWS(s, "name", name, nitems(names));
	UNIT_ROWS(s, "hash part", part, nitems(parts));
	UNIT_ROWS(s, "base name", base, nitems(bases));
	UNIT_ROWS(s, "derivation", drv, nitems(drvs));
	UNIT_ROWS(s, "path", path, nitems(paths));
	UNIT_ROWS(s, "directory", dir, nitems(dirs));
	return unit_main(s);
}
