// A Parquet footer: what is understood of it is whole, and takes no more memory than the
// footer accounts for.
#include "fuzz/fuzz.h"
#include "parquet/footer.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    struct parquet_footer footer;
    struct shoal_error err;
    uint64_t rows = 0, known = 0;
    shoal_status status = parquet_footer_parse(data, size, &footer, &err);
    FUZZ_CHECK(status == SHOAL_OK || status == SHOAL_UNSUPPORTED);
    FUZZ_CHECK(footer.column_count <= size && footer.group_count <= size);
    FUZZ_CHECK(footer.column_count == 0 ||
               footer.group_count <= size / footer.column_count);
    if (status == SHOAL_OK) {
        for (size_t c = 0; c < footer.column_count; c++)
            rows += strlen(footer.columns[c].name);
        for (size_t g = 0; g < footer.group_count; g++) {
            rows += footer.rows[g];
            for (size_t c = 0; c < footer.column_count; c++) {
                const struct parquet_range *range =
                    &footer.ranges[g * footer.column_count + c];
                FUZZ_CHECK(!range->known || range->min <= range->max);
                known += range->known;
            }
        }
    }
    (void)rows;
    FUZZ_CHECK(known <= size);
    parquet_footer_free(&footer);
    return 0;
}
