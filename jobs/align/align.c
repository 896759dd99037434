/* Finds where a DNA read fits best into a reference: local alignment after Smith and Waterman.
 *
 * No library and no SDK: docs/abi.md is all that this knows of Manyhands. The input is ["READ","REFERENCE"] in
 * letters A, C, G and T; the output is the best score and how far into both of them it reaches.
 *
 *     manyhands build jobs/align/align.c
 *     manyhands run target/manyhands/align.wasm --inputs jobs/align/inputs.jsonl
 */
#define IMPORT(name) __attribute__((import_module("manyhands_v1"), import_name(#name)))
#define EXPORT(name) __attribute__((export_name(#name)))

IMPORT(input_len) unsigned input_len(void);
IMPORT(input_read) void input_read(void *to, unsigned offset, unsigned bytes);
IMPORT(output_write) void output_write(const void *from, unsigned bytes);
IMPORT(progress) void progress(unsigned permille);
IMPORT(abort) _Noreturn void give_up(unsigned code, const void *message, unsigned bytes);

#define TEXT(text) text, sizeof(text) - 1
#define FAIL(text) give_up(1, TEXT(text))

enum { MATCH = 2, MISMATCH = -1, GAP = -2, INPUT_MAX = 1 << 20, READ_MAX = 4096 };

/* One byte more, which stays zero and ends every search. */
static char input[INPUT_MAX + 1];
static int score[READ_MAX + 1];

/* Bytes from `text` to the quote that ends it. */
static unsigned length(const char *text) {
    unsigned n = 0;
    for (; text[n] != '"'; n++)
        if (text[n] != 'A' && text[n] != 'C' && text[n] != 'G' && text[n] != 'T')
            FAIL("a sequence has a letter other than A, C, G and T, or no end");
    return n;
}

/* What follows the next quote. */
static const char *quoted(const char *text) {
    while (*text && *text != '"') text++;
    if (!*text) FAIL("the input is not [\"READ\",\"REFERENCE\"]");
    return text + 1;
}

static void write_number(unsigned number) {
    char digits[10];
    unsigned at = sizeof digits;
    do digits[--at] = '0' + number % 10; while (number /= 10);
    output_write(digits + at, sizeof digits - at);
}

static int max(int a, int b) { return a > b ? a : b; }

EXPORT(manyhands_run) void run(void) {
    unsigned bytes = input_len();
    if (bytes > INPUT_MAX) FAIL("the input is longer than 1 MiB");
    input_read(input, 0, bytes);
    const char *read = quoted(input);
    unsigned read_length = length(read);
    const char *reference = quoted(read + read_length + 1);
    unsigned reference_length = length(reference);
    if (read_length > READ_MAX) FAIL("the read is longer than 4096 letters");

    /* score[i] is that of the best alignment that ends at read letter i and at the letter of the reference
       before this one; the table's other columns are not needed again. */
    int best = 0;
    unsigned best_read = 0, best_reference = 0;
    for (unsigned j = 1; j <= reference_length; j++) {
        int diagonal = 0;
        for (unsigned i = 1; i <= read_length; i++) {
            int step = read[i - 1] == reference[j - 1] ? MATCH : MISMATCH;
            int here = max(max(diagonal + step, 0), max(score[i], score[i - 1]) + GAP);
            diagonal = score[i];
            score[i] = here;
            if (here > best) best = here, best_read = i, best_reference = j;
        }
        if (j % 1024 == 0) progress((unsigned long long)j * 1000 / reference_length);
    }
    output_write(TEXT("{\"score\":"));
    write_number(best);
    output_write(TEXT(",\"read_end\":"));
    write_number(best_read);
    output_write(TEXT(",\"reference_end\":"));
    write_number(best_reference);
    output_write(TEXT("}"));
}
