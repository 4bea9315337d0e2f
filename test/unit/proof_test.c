// Proofs of a secret: HMAC-SHA-256 as others compute it, and none that holds twice.
#include "base/proof.h"

#include <string.h>

#include "support/harness.h"

static uint8_t secret[PROOF_SECRET];
static struct proof_nonces nonces;

static void a_proof_is_an_hmac(void **state) {
    (void)state;
    char proof[PROOF_TEXT];
    struct shoal_error err;
    for (int i = 0; i < PROOF_SECRET; i++) secret[i] = (uint8_t)i;
    memset(nonces.driver, 'a', PROOF_TEXT - 1);
    memset(nonces.worker, 'b', PROOF_TEXT - 1);
    // Python: hmac.new(bytes(range(32)), b"w" + 64 * b"a" + 64 * b"b", "sha256")
    assert_int_equal(proof_make(secret, PROOF_WORKER, &nonces, proof, &err), SHOAL_OK);
    assert_string_equal(
        proof, "bb76bab6b640aef239751fea8debe8d27fbad6c8552ceaad90717cac2eccc183");
    assert_true(proof_holds(secret, PROOF_WORKER, &nonces, proof));
}

static void others_do_not_hold(void **state) {
    (void)state;
    char proof[PROOF_TEXT], wrong[PROOF_TEXT];
    struct shoal_error err;
    assert_int_equal(proof_make_secret(secret, &err), SHOAL_OK);
    assert_int_equal(proof_make_nonce(nonces.driver, &err), SHOAL_OK);
    assert_int_equal(proof_make_nonce(nonces.worker, &err), SHOAL_OK);
    assert_string_not_equal(nonces.driver, nonces.worker);
    assert_int_equal(proof_make(secret, PROOF_DRIVER, &nonces, proof, &err), SHOAL_OK);
    assert_true(proof_holds(secret, PROOF_DRIVER, &nonces, proof));
    assert_false(proof_holds(secret, PROOF_WORKER, &nonces, proof));
    assert_false(proof_holds(secret, PROOF_DRIVER, &nonces, NULL));
    assert_false(proof_holds(secret, PROOF_DRIVER, &nonces, ""));
    for (int i = 0; i < PROOF_TEXT - 1; i++) {
        memcpy(wrong, proof, sizeof wrong);
        wrong[i] = wrong[i] == '0' ? '1' : '0';
        assert_false(proof_holds(secret, PROOF_DRIVER, &nonces, wrong));
    }
    struct proof_nonces other = nonces;
    assert_int_equal(proof_make_nonce(other.worker, &err), SHOAL_OK);
    assert_false(proof_holds(secret, PROOF_DRIVER, &other, proof));
    other = nonces;
    assert_int_equal(proof_make_nonce(other.driver, &err), SHOAL_OK);
    assert_false(proof_holds(secret, PROOF_DRIVER, &other, proof));
    proof_forget(secret);
    assert_false(proof_holds(secret, PROOF_DRIVER, &nonces, proof));
    for (int i = 0; i < PROOF_SECRET; i++) assert_int_equal(secret[i], 0);
}

static void a_nonce_is_checked(void **state) {
    (void)state;
    char nonce[PROOF_TEXT], copy[PROOF_TEXT];
    struct shoal_error err;
    assert_int_equal(proof_make_nonce(nonce, &err), SHOAL_OK);
    assert_true(proof_copy_nonce(nonce, copy));
    assert_string_equal(copy, nonce);
    assert_false(proof_copy_nonce(NULL, copy));
    assert_false(proof_copy_nonce(nonce + 1, copy));
    nonce[5] = 'x';
    assert_false(proof_copy_nonce(nonce, copy));
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_proof_is_an_hmac),
        cmocka_unit_test(others_do_not_hold),
        cmocka_unit_test(a_nonce_is_checked),
    };
    return cmocka_run_group_tests_name("proof", tests, NULL, NULL);
}
