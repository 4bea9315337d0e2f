#include "cli/gen.h"

#include <errno.h>
#include <getopt.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cli/options.h"
#include "gen/skew.h"

#define BOTH_SIDES_ROWS 200

enum option_code {
    OPTION_ROWS = 256,
    OPTION_KEYS,
    OPTION_ZIPF,
    OPTION_HOT_SHARE,
    OPTION_HOT_KEYS,
    OPTION_NULL_SHARE,
    OPTION_BOTH_SIDES,
    OPTION_HOT_ROWS,
    OPTION_SEED,
    OPTION_FILES,
    OPTION_THREADS,
    OPTION_OVERWRITE,
};

struct gen_options {
    struct skew_options skew;
    bool hot_keys_given, both_sides, help;
    uint64_t hot_rows;  // 0: not given
};

// 500000, 10M, 1.5G
static shoal_status read_count(const char *name, const char *text, uint64_t *count,
                               struct shoal_error *err) {
    static const struct {
        const char *name;
        double by;
    } units[] = {{"", 1}, {"k", 1e3}, {"K", 1e3}, {"M", 1e6}, {"G", 1e9}};
    char *end = NULL;
    double value = strspn(text, "0123456789.") > 0 ? strtod(text, &end) : 0;
    for (size_t i = 0; end != NULL && i < sizeof units / sizeof *units; i++) {
        if (strcmp(end, units[i].name) != 0) continue;
        value *= units[i].by;
        // 1.1 million, as a double, is no whole number.
        double whole = floor(value + 0.5);
        if (fabs(value - whole) > 1e-6 || whole < 1 || whole > SKEW_MOST) break;
        *count = (uint64_t)whole;
        return SHOAL_OK;
    }
    return shoal_fail(err, SHOAL_USAGE,
                      "--%s %s: give a whole number from 1 to 4G, as 500000, 10M or 1.5G",
                      name, text);
}

static shoal_status read_real(const char *name, const char *text, double most,
                              const char *what, double *value, struct shoal_error *err) {
    char *end = NULL;
    // Not what strtod also knows: signs, hexadecimals, nan.
    bool plain = text[strspn(text, "0123456789.")] == '\0' && *text != '\0';
    *value = plain ? strtod(text, &end) : -1;
    if (plain && *end == '\0' && *value >= 0 && *value <= most) return SHOAL_OK;
    return shoal_fail(err, SHOAL_USAGE, "--%s %s: give %s from 0 to %g", name, text, what,
                      most);
}

static shoal_status read_option(struct gen_options *options, int option, char **argv,
                                struct shoal_error *err) {
    struct skew_options *skew = &options->skew;
    long number = 0;
    shoal_status status = SHOAL_OK;
    switch (option) {
        case OPTION_ROWS:
            return read_count("rows", optarg, &skew->rows, err);
        case OPTION_KEYS:
            return read_count("keys", optarg, &skew->keys, err);
        case OPTION_ZIPF:
            return read_real("zipf", optarg, 10, "an exponent", &skew->zipf, err);
        case OPTION_HOT_SHARE:
            return read_real("hot-share", optarg, 1, "a share of the rows",
                             &skew->hot_share, err);
        case OPTION_HOT_KEYS:
            options->hot_keys_given = true;
            return read_count("hot-keys", optarg, &skew->hot_keys, err);
        case OPTION_NULL_SHARE:
            return read_real("null-share", optarg, 1, "a share of the rows",
                             &skew->null_share, err);
        case OPTION_BOTH_SIDES:
            options->both_sides = true;
            return SHOAL_OK;
        case OPTION_HOT_ROWS:
            return read_count("hot-rows", optarg, &options->hot_rows, err);
        case OPTION_SEED:
            status = cli_number("seed", optarg, 0, INT64_MAX, &number, err);
            skew->seed = (uint64_t)number;
            return status;
        case OPTION_FILES:
            status = cli_number("files", optarg, 1, 10000, &number, err);
            skew->files = (uint32_t)number;
            return status;
        case OPTION_THREADS:
            status = cli_number("threads", optarg, 1, 1024, &number, err);
            skew->threads = (uint32_t)number;
            return status;
        case OPTION_OVERWRITE:
            skew->overwrite = true;
            return SHOAL_OK;
        case 'h':
            options->help = true;
            return SHOAL_OK;
        default:
            return shoal_fail(err, SHOAL_USAGE,
                              "%s: unknown option, or its value is missing",
                              argv[optind - 1]);
    }
}

static shoal_status read_options(struct gen_options *options, int argc, char **argv,
                                 struct shoal_error *err) {
    static const struct option known[] = {
        {"rows", required_argument, NULL, OPTION_ROWS},
        {"keys", required_argument, NULL, OPTION_KEYS},
        {"zipf", required_argument, NULL, OPTION_ZIPF},
        {"hot-share", required_argument, NULL, OPTION_HOT_SHARE},
        {"hot-keys", required_argument, NULL, OPTION_HOT_KEYS},
        {"null-share", required_argument, NULL, OPTION_NULL_SHARE},
        {"both-sides", no_argument, NULL, OPTION_BOTH_SIDES},
        {"hot-rows", required_argument, NULL, OPTION_HOT_ROWS},
        {"seed", required_argument, NULL, OPTION_SEED},
        {"files", required_argument, NULL, OPTION_FILES},
        {"threads", required_argument, NULL, OPTION_THREADS},
        {"overwrite", no_argument, NULL, OPTION_OVERWRITE},
        {"help", no_argument, NULL, 'h'},
        {NULL, 0, NULL, 0}};
    opterr = 0;
    optind = 1;
    for (int option; (option = getopt_long(argc, argv, "h", known, NULL)) != -1;) {
        shoal_status status = read_option(options, option, argv, err);
        if (status != SHOAL_OK) return status;
    }
    return SHOAL_OK;
}

// What goes together.
static shoal_status check_options(struct gen_options *options, struct shoal_error *err) {
    struct skew_options *skew = &options->skew;
    if (skew->hot_share + skew->null_share > 1 + 1e-9)
        return shoal_fail(err, SHOAL_USAGE,
                          "--hot-share %g and --null-share %g are more than all rows: "
                          "give at most 1 together",
                          skew->hot_share, skew->null_share);
    if (skew->hot_keys > skew->keys)
        return shoal_fail(
            err, SHOAL_USAGE, "--hot-keys %llu: there are only %llu (--keys)",
            (unsigned long long)skew->hot_keys, (unsigned long long)skew->keys);
    if (options->hot_rows > 0 && !options->both_sides)
        return shoal_fail(err, SHOAL_USAGE, "--hot-rows goes with --both-sides");
    bool hot = skew->hot_share > 0 || skew->zipf > 0;
    if (!hot && options->both_sides)
        return shoal_fail(err, SHOAL_USAGE,
                          "--both-sides, but no key is hot: give --hot-share or --zipf");
    if (options->hot_keys_given && skew->hot_share == 0 && !options->both_sides)
        return shoal_fail(err, SHOAL_USAGE,
                          "--hot-keys goes with --hot-share or --both-sides");
    if (options->both_sides)
        skew->dim_rows = options->hot_rows > 0 ? options->hot_rows : BOTH_SIDES_ROWS;
    return skew_check(skew, err);
}

static void say(const char *folder, const struct skew_options *options,
                const struct skew_made *made) {
    printf("%s/fact: %llu rows in %u files", folder, (unsigned long long)options->rows,
           made->fact_files);
    if (options->null_share > 0)
        printf(", %g%% without a key", options->null_share * 100);
    printf("\n%s/dim: %llu rows in %u files\n", folder,
           (unsigned long long)made->dim_rows, made->dim_files);
    if (options->hot_share > 0 || options->zipf > 0)
        printf("the hottest key is %llu: about %.4g%% of fact, %llu row%s of dim\n",
               (unsigned long long)made->hot_key, made->hot_share * 100,
               (unsigned long long)options->dim_rows, options->dim_rows > 1 ? "s" : "");
}

static void help(void) {
    fputs(
        "shoal gen skew DIR [options]: a fact table whose keys are skewed as is asked "
        "for,\n"
        "DIR/fact/*.parquet, and the dimension that it joins to, DIR/dim/*.parquet.\n"
        "docs/skew.md defines the columns\n"
        "\n"
        "The fact table: key, ts, quantity, amount, note\n"
        "  --rows N            of it (100M)\n"
        "  --keys N            0..N-1 (1M)\n"
        "  --zipf S            a key of rank r has a share proportional to 1/r^S (0:\n"
        "                      uniform)\n"
        "  --hot-share P       of all rows, P have the hottest key (0); others follow "
        "--zipf\n"
        "  --hot-keys N        or one of the N hottest, evenly (1)\n"
        "  --null-share P      of all rows, P have no key (0)\n"
        "The dimension: key, name, segment, weight; a row for each key\n"
        "  --both-sides        more than one for each hot key\n"
        "  --hot-rows N        so many (200)\n"
        "Both\n"
        "  --seed N            the same seed gives the same rows (1)\n"
        "  --files N           of each table (8)\n"
        "  --threads T         that write them (all cores)\n"
        "  --overwrite         replace what an earlier run made\n",
        stdout);
}

shoal_status gen_command(int argc, char **argv, const volatile sig_atomic_t *cancelled,
                         struct shoal_error *err) {
    struct gen_options options = {.skew = {.rows = 100000000,
                                           .keys = 1000000,
                                           .hot_keys = 1,
                                           .dim_rows = 1,
                                           .seed = 1,
                                           .files = 8,
                                           .cancelled = cancelled}};
    struct skew_made made;
    shoal_status status = read_options(&options, argc, argv, err);
    if (status != SHOAL_OK) return status;
    if (options.help) {
        help();
        return SHOAL_OK;
    }
    if (optind >= argc || strcmp(argv[optind], "skew") != 0)
        return shoal_fail(err, SHOAL_USAGE, "gen %s: shoal makes one thing: gen skew DIR",
                          optind < argc ? argv[optind] : "what");
    if (argc - optind != 2 || *argv[optind + 1] == '\0')
        return shoal_fail(err, SHOAL_USAGE, "gen skew: give one folder, and options");
    const char *folder = argv[optind + 1];
    status = check_options(&options, err);
    if (status == SHOAL_OK) status = skew_write(folder, &options.skew, &made, err);
    if (status == SHOAL_OK) say(folder, &options.skew, &made);
    return status;
}
