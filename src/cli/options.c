/* SPDX-License-Identifier: Apache-2.0 */
#include "cli/options.h"

#include "config/text.h"
#include "util/cleanup.h"

#include <string.h>

enum {
    HELP_WIDTH = 80,
    HELP_COLUMN = 29, /* where the explanations begin */
    WORD_MAX = 64,    /* longer ones are like nothing */
};

/* ---- The nearest word -------------------------------------------------------------------------------------------------------- */

static unsigned least(unsigned a, unsigned b, unsigned c)
{
    unsigned ab = a < b ? a : b;

    return ab < c ? ab : c;
}

/* How many letters must be put in, taken out or exchanged to make one word the other (Levenshtein). */
static unsigned distance(const char *one, const char *two)
{
    unsigned row[WORD_MAX + 1];
    size_t length = strlen(two);

    for (unsigned j = 0; j <= length; j++)
        row[j] = j;
    for (unsigned i = 1; *one; i++, one++) {
        unsigned diagonal = row[0];

        row[0] = i;
        for (size_t j = 1; j <= length; j++) {
            unsigned changed = diagonal + (*one != two[j - 1]);

            diagonal = row[j];
            row[j] = least(row[j] + 1, row[j - 1] + 1, changed);
        }
    }
    return row[length];
}

const char *nearest(const char *word, const char *const *candidates)
{
    size_t length = strlen(word);
    unsigned best = length > WORD_MAX ? 0 : (unsigned)length / 3 + 2; /* as far as this is no likeness any more */
    const char *found = NULL;

    for (; best > 0 && *candidates; candidates++) {
        unsigned d = strlen(*candidates) > WORD_MAX ? best : distance(word, *candidates);

        if (d < best) {
            best = d;
            found = *candidates;
        }
    }
    return found;
}

/* ---- Parsing ----------------------------------------------------------------------------------------------------------------- */

struct parser {
    const struct option *options;
    int argc;
    char **argv;
    int at; /* the argument that is read */
    void *target;
    msb_error **err;
};

static const char *nearest_option(const struct option *options, const char *name)
{
    const char *names[WORD_MAX + 1] = { NULL };

    for (size_t i = 0; i < WORD_MAX && options[i].name; i++)
        names[i] = options[i].name;
    return nearest(name, names);
}

/* The option as it was written, up to its '='. */
static int refuse_unknown(struct parser *p, struct text written)
{
    _cleanup_free_ char *quoted = text_quote(written), *name = text_copy(written);
    const char *like;

    if (!quoted || !name)
        return fail_no_memory(p->err);
    like = written.length > 2 ? nearest_option(p->options, name + strspn(name, "-")) : NULL;
    if (like)
        return fail(p->err, MSB_ERR_INVALID, "unknown option %s; did you mean \"--%s\"?", quoted, like);
    return fail(p->err, MSB_ERR_INVALID, "unknown option %s; --help lists those that there are", quoted);
}

static int set(struct parser *p, const struct option *option, struct text written, const char *value)
{
    if (option->set(p->target, value, p->err) == 0)
        return 0;
    return fail_prefix(p->err, "%.*s", (int)written.length, written.bytes);
}

/* Takes the value from behind '=' or from the next argument. */
static int set_with_value(struct parser *p, const struct option *option, struct text written, const char *attached)
{
    if (!attached && p->at + 1 < p->argc)
        attached = p->argv[++p->at];
    if (!attached)
        return fail(p->err, MSB_ERR_INVALID, "%.*s needs a value, %s", (int)written.length, written.bytes, option->value);
    return set(p, option, written, attached);
}

static int parse_long(struct parser *p)
{
    const char *argument = p->argv[p->at], *value = strchr(argument, '=');
    struct text written = { argument, value ? (size_t)(value - argument) : strlen(argument) };
    struct text name = { argument + 2, written.length - 2 };

    for (const struct option *option = p->options; option->name; option++) {
        if (!text_equal(name, option->name))
            continue;
        if (option->value)
            return set_with_value(p, option, written, value ? value + 1 : NULL);
        if (value)
            return fail(p->err, MSB_ERR_INVALID, "--%s takes no value", option->name);
        return set(p, option, written, NULL);
    }
    return refuse_unknown(p, written);
}

static const struct option *find_letter(const struct option *options, char letter)
{
    for (; options->name; options++)
        if (options->letter == letter)
            return options;
    return NULL;
}

static int parse_cluster(struct parser *p)
{
    for (const char *at = p->argv[p->at] + 1; *at; at++) {
        const struct option *option = find_letter(p->options, *at);
        const char written[] = { '-', *at, '\0' };
        struct text text = { written, 2 };

        if (!option)
            return refuse_unknown(p, text);
        if (option->value) {
            const char *value = at[1] == '=' ? at + 2 : at + 1;

            return set_with_value(p, option, text, at[1] ? value : NULL);
        }
        if (set(p, option, text, NULL) < 0)
            return -1;
    }
    return 0;
}

int options_parse(const struct option *options, int argc, char **argv, void *target, msb_error **err)
{
    struct parser p = { options, argc, argv, 1, target, err };

    for (; p.at < argc; p.at++) {
        const char *argument = argv[p.at];

        if (!strcmp(argument, "--"))
            return p.at + 1;
        if (argument[0] != '-' || !argument[1])
            return p.at;
        if (!strcmp(argument, "--help"))
            return OPTIONS_HELP;
        if ((argument[1] == '-' ? parse_long(&p) : parse_cluster(&p)) < 0)
            return -1;
    }
    return p.at;
}

/* ---- Help -------------------------------------------------------------------------------------------------------------------- */

void write_folded(FILE *out, const char *text, int column, int indent)
{
    while (*text) {
        int length = (int)strcspn(text, " ");

        if (column > indent && column + 1 + length > HELP_WIDTH) {
            fprintf(out, "\n%*s", indent, "");
            column = indent;
        } else if (column > indent) {
            fprintf(out, " ");
            column++;
        }
        fprintf(out, "%.*s", length, text);
        column += length;
        text += length + strspn(text + length, " ");
    }
    fprintf(out, "\n");
}

static void option_help(const struct option *option, FILE *out)
{
    int column = option->letter ? fprintf(out, "  -%c, ", option->letter) : fprintf(out, "      ");

    column += fprintf(out, "--%s%s%s", option->name, option->value ? " " : "", option->value ? option->value : "");
    if (column + 2 > HELP_COLUMN) {
        fprintf(out, "\n");
        column = 0;
    }
    fprintf(out, "%*s", HELP_COLUMN - column, "");
    write_folded(out, option->help, HELP_COLUMN, HELP_COLUMN);
}

void options_help(const struct option *options, FILE *out)
{
    static const struct option help = { .name = "help", .help = "Show this." };
    const char *group = "";

    for (; options->name; options++) {
        if (strcmp(group, options->group) != 0) {
            group = options->group;
            fprintf(out, "\n%s:\n", group);
        }
        option_help(options, out);
    }
    fprintf(out, "\n");
    option_help(&help, out);
}
