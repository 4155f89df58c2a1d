# shellcheck shell=sh
# SPDX-License-Identifier: Apache-2.0
#
# Matrices for the examples, as files of numbers with commas between them. To be sourced.

make_matrix() { # SEED ROWS COLUMNS
    awk -v seed="$1" -v rows="$2" -v columns="$3" 'BEGIN {
        srand(seed)
        for (i = 0; i < rows; i++) {
            for (j = 0; j < columns; j++) {
                printf "%d%s", int(rand() * 199) - 99, j + 1 < columns ? "," : "\n"
            }
        }
    }'
}

multiply() { # A B
    awk -F , '
        FNR == NR { for (k = 1; k <= NF; k++) a[FNR, k] = $k; rows = FNR; next }
        { for (j = 1; j <= NF; j++) b[FNR, j] = $j; inner = FNR; columns = NF }
        END {
            for (i = 1; i <= rows; i++) {
                for (j = 1; j <= columns; j++) {
                    sum = 0
                    for (k = 1; k <= inner; k++) sum += a[i, k] * b[k, j]
                    printf "%d%s", sum, j < columns ? "," : "\n"
                }
            }
        }' "$1" "$2"
}
