#include "config.h"

#include <string.h>

#include "unit.h"

#include "buf.h"
#include "derivation.h"

#define P "/nix/store/lnifvwjxms9rhhg1y77cqglvkx1layqy-a"
#define STR(s) s, sizeof(s) - 1

static const struct {
	const char *p;
	size_t n;
	const char *outputs; /* NULL: malformed */
} rows[] = {
	/* As Nix 2.8 wrote them. */
	{ STR("Derive([(\"out\",\"" P "\",\"\",\"\")],[],[],\"x\",\"/bin/sh\""),
	    "out=" P ";" },
	{ STR("Derive([(\"dev\",\"" P "-dev\",\"\",\"\"),(\"out\",\"" P
	      "\",\"\",\"\")],[(\"x"),
	    "dev=" P "-dev;out=" P ";" },
	{ STR("Derive([(\"out\",\"" P "\",\"r:sha256\",\"0123\")],["),
	    "out=" P ";" },
	{ STR("Derive([(\"out\",\"\",\"r:sha256\",\"\")],["), "out=;" },
	{ STR(""), NULL },
	{ STR("Derive("), NULL },
	{ STR("Derive([],[],"), NULL },
	{ STR("DrvWithVersion(\"xp-dyn-drv\",["), NULL },
	{ STR("Derive([(\"out\",\"/p\",\"\",\"\")]"), NULL },
	{ STR("Derive([(\"out\",\"/p\",\"\",\"\"),],["), NULL },
	{ STR("Derive([(\"out\",\"/p\",\"\"],["), NULL },
	{ STR("Derive([(\"out\",\"/p\",\"\",\"\",\"\")],["), NULL },
	{ STR("Derive([(\"\",\"/p\",\"\",\"\")],["), NULL },
	{ STR("Derive([(\"o\\\"\",\"/p\",\"\",\"\")],["), NULL },
	{ STR("Derive([(\"o\\n\",\"/p\",\"\",\"\")],["), NULL },
	{ STR("Derive([(\"o\n\",\"/p\",\"\",\"\")],["), NULL },
	{ STR("Derive([(\"out\",\"/p"), NULL },
	{ STR("Derive([(\"out"), NULL },
	{ STR("Derive([(\"out\",\"/\0p\",\"\",\"\")],["), NULL },
};

static int
add(const char *name, size_t name_len, const char *path, size_t path_len,
    void *arg)
{
	struct buf *b = arg;

	buf_add(b, name, name_len);
	buf_addch(b, '=');
	buf_add(b, path, path_len);
	buf_addch(b, ';');
	return 0;
}

START_TEST(row)
{
	struct buf b = BUF_INIT;
	int rc = derivation_outputs(rows[_i].p, rows[_i].n, add, &b);

	ck_assert_int_eq(rc, rows[_i].outputs != NULL ? 0 : -1);
	if (rc == 0)
		ck_assert_str_eq(buf_str(&b), rows[_i].outputs);
	buf_free(&b);
}
END_TEST

/* Cut anywhere before the end of the outputs, it is malformed. */
START_TEST(cut)
{
	static const char text[] =
	    "Derive([(\"dev\",\"/p\",\"\",\"\"),(\"out\",\"/q\",\"a\",\"b\")],";
	struct buf b = BUF_INIT;
	size_t n;

	for (n = 0; n < sizeof(text) - 1; n++)
		ck_assert_int_eq(derivation_outputs(text, n, add, &b), -1);
	ck_assert_int_eq(derivation_outputs(text, n, add, &b), 0);
	buf_free(&b);
}
END_TEST

int
main(void)
{
	Suite *s = suite_create("derivation");
	TCase *tc = tcase_create("cut");

	UNIT_ROWS(s, "rows", row, nitems(rows));
	tcase_add_test(tc, cut);
	suite_add_tcase(s, tc);
	return unit_main(s);
}
