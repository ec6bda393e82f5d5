/* Who is let in, and what is said of who is not (RELIABILITY.md 3.5, T-3 to T-6): real certificates, whole handshakes.
 */
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include <wolfssl/options.h>

#include <ngtcp2/ngtcp2_crypto_wolfssl.h>
#include <wolfssl/ssl.h>

#include "proto/tls_priv.h"
#include "unit/support.h"
#include "unit/support_quic.h"

enum verdict { ACCEPTED, CLIENT_REFUSES, SERVER_REFUSES };

struct attempt {
  const char *what;
  const char *client, *server;                 /* certificates; NULL: client and server */
  const char *client_expects, *server_expects; /* peer names; NULL: server.test and client.test */
  enum verdict verdict;
  const char *refusing, *refused; /* words that the reasons of the two ends contain */
};

static const char *or_else(const char *text, const char *fallback) { return text != NULL ? text : fallback; }

/* Both ends are open, or both are over: the client opens before the server has seen its certificate. */
static bool decided(struct sim *sim) { return sim_both_confirmed(sim) || sim_over(sim); }

static void contains(const struct attempt *attempt, const char *end, const char *reason, const char *words) {
  if (words != NULL && strstr(reason, words) == NULL)
    fail_msg("%s: the %s says \"%s\", not \"%s\"", attempt->what, end, reason, words);
}

/* Takes both contexts. */
static void run_contexts(const struct attempt *attempt, struct tls_context *client, struct tls_context *server) {
  struct sim *sim = sim_new(11);
  sim_set_tls(sim, client, server);
  sim_start(sim);
  sim_connect(sim, or_else(attempt->client_expects, "server.test"));
  bool done = sim_run(sim, decided, 4000);
  const struct quic_conn *far = sim->server_count > 0 ? sim->servers[0] : NULL;
  if (!done || far == NULL)
    fail_msg("%s: not decided; client: %s", attempt->what, quic_reason(sim->client));
  bool accepted = quic_state(sim->client) == QUIC_OPEN && quic_state(far) == QUIC_OPEN;
  if (accepted != (attempt->verdict == ACCEPTED))
    fail_msg("%s: %s; client: %s; server: %s", attempt->what, accepted ? "accepted" : "refused",
             quic_reason(sim->client), quic_reason(far));
  if (attempt->verdict == CLIENT_REFUSES) {
    assert_null(sim->client_app);
    contains(attempt, "client", quic_reason(sim->client), attempt->refusing);
    contains(attempt, "server", quic_reason(far), attempt->refused);
  } else if (attempt->verdict == SERVER_REFUSES) {
    assert_null(sim->server_app);
    contains(attempt, "server", quic_reason(far), attempt->refusing);
    contains(attempt, "client", quic_reason(sim->client), attempt->refused);
  }
  if (attempt->verdict != ACCEPTED) {
    assert_true(quic_failed(sim->client) && quic_failed(far));
    assert_false(quic_confirmed(sim->client));
    print_message("  %-36s client: %s\n  %-36s server: %s\n", attempt->what, quic_reason(sim->client), "",
                  quic_reason(far));
  }
  sim_free(sim);
}

static struct tls_context *context_of(bool server, const char *name, const char *peer) {
  char report[SIM_REPORT_MAX];
  struct tls_context *context = sim_tls(server, name, NULL, peer, report);
  if (context == NULL)
    fail_msg("%s: %s", name, report);
  return context;
}

static void run_attempt(const struct attempt *attempt) {
  run_contexts(attempt,
               context_of(false, or_else(attempt->client, "client"), or_else(attempt->client_expects, "server.test")),
               context_of(true, or_else(attempt->server, "server"), or_else(attempt->server_expects, "client.test")));
}

static const struct attempt attempts[] = {
    {.what = "right"},
    {.what = "upper case", .server = "server_upper"},
    {.what = "upper case expected", .client_expects = "Server.TEST"},
    {.what = "trailing dot expected", .client_expects = "server.test."},
    {.what = "wildcard", .server = "server_wildcard"},
    {.what = "single label", .server = "server_label", .client_expects = "backend"},
    {.what = "IPv4 address", .server = "server_ip", .client_expects = "127.0.0.1"},
    {.what = "IPv6 address", .server = "server_ip", .client_expects = "::1"},
    {.what = "IPv6 address in full", .server = "server_ip", .client_expects = "0:0:0:0:0:0:0:1"},
    {.what = "server with an intermediate", .server = "server_chain"},
    {.what = "client with an intermediate", .client = "client_chain"},
    {.what = "any extended key usage", .server = "server_any_eku"},
    {.what = "client RSA 2048", .client = "client_rsa"},
    {.what = "client Ed25519", .client = "client_ed25519"},
    {.what = "server of another CA",
     .server = "server_wrong_ca",
     .verdict = CLIENT_REFUSES,
     .refusing = "not signed by a certificate authority that we trust",
     .refused = "handshake: closed by the peer: TLS alert 48, unknown CA"},
    {.what = "client of another CA",
     .client = "client_wrong_ca",
     .verdict = SERVER_REFUSES,
     .refusing = "not signed by a certificate authority that we trust",
     .refused = "handshake: closed by the peer: TLS alert 48, unknown CA"},
    {.what = "server with a wrong name",
     .server = "server_wrong_name",
     .verdict = CLIENT_REFUSES,
     .refusing = "wrong host name: expected server.test, the certificate is for DNS:elsewhere.test",
     .refused = "handshake: closed by the peer: TLS alert 42, bad certificate"},
    {.what = "client with a wrong name",
     .client = "client_wrong_name",
     .verdict = SERVER_REFUSES,
     .refusing = "wrong host name: expected client.test, the certificate is for DNS:elsewhere.test",
     .refused = "handshake: closed by the peer: TLS alert 42, bad certificate"},
    {.what = "name in the CN only",
     .server = "server_cn_only",
     .verdict = CLIENT_REFUSES,
     .refusing = "wrong host name: expected server.test, the certificate is for no name",
     .refused = "TLS alert 42"},
    {.what = "wildcard for two labels",
     .server = "server_wildcard",
     .client_expects = "a.b.test",
     .verdict = CLIENT_REFUSES,
     .refusing = "wrong host name"},
    {.what = "address as a DNS name",
     .server = "server_dns_ip",
     .client_expects = "127.0.0.1",
     .verdict = CLIENT_REFUSES,
     .refusing = "wrong host name: expected 127.0.0.1, the certificate is for DNS:127.0.0.1"},
    {.what = "name expected, only addresses",
     .server = "server_ip",
     .verdict = CLIENT_REFUSES,
     .refusing = "the certificate is for IP:127.0.0.1, IP:::1"},
    {.what = "another address",
     .server = "server_ip",
     .client_expects = "127.0.0.2",
     .verdict = CLIENT_REFUSES,
     .refusing = "wrong host name"},
    {.what = "server expired",
     .server = "server_expired",
     .verdict = CLIENT_REFUSES,
     .refusing = "has expired",
     .refused = "TLS alert 45, certificate expired"},
    {.what = "client expired",
     .client = "client_expired",
     .verdict = SERVER_REFUSES,
     .refusing = "has expired",
     .refused = "TLS alert 45, certificate expired"},
    {.what = "server not yet valid",
     .server = "server_not_yet",
     .verdict = CLIENT_REFUSES,
     .refusing = "not valid yet",
     .refused = "TLS alert"},
    {.what = "client not yet valid",
     .client = "client_not_yet",
     .verdict = SERVER_REFUSES,
     .refusing = "not valid yet",
     .refused = "TLS alert"},
    {.what = "server with clientAuth only",
     .server = "server_client_auth",
     .verdict = CLIENT_REFUSES,
     .refusing = "extended key usage does not include serverAuth (TLS alert 42",
     .refused = "TLS alert"},
    {.what = "client with serverAuth only",
     .client = "client_server_auth",
     .verdict = SERVER_REFUSES,
     .refusing = "extended key usage does not include clientAuth (TLS alert 42",
     .refused = "TLS alert"},
    {.what = "server without extended key usage",
     .server = "server_no_eku",
     .verdict = CLIENT_REFUSES,
     .refusing = "extended key usage is missing, it must include serverAuth",
     .refused = "TLS alert 42"},
    {.what = "client without extended key usage",
     .client = "client_no_eku",
     .verdict = SERVER_REFUSES,
     .refusing = "extended key usage is missing, it must include clientAuth",
     .refused = "TLS alert 42"},
    {.what = "server self-signed",
     .server = "server_self",
     .verdict = CLIENT_REFUSES,
     .refusing = "not signed by a certificate authority that we trust",
     .refused = "TLS alert"},
    {.what = "client self-signed",
     .client = "client_self",
     .verdict = SERVER_REFUSES,
     .refusing = "not signed by a certificate authority that we trust",
     .refused = "TLS alert"},
    {.what = "intermediate missing",
     .server = "server_chain_broken",
     .verdict = CLIENT_REFUSES,
     .refusing = "not signed by a certificate authority that we trust",
     .refused = "unknown CA"},
    {.what = "CA of the same name",
     .server = "server_fake_ca",
     .verdict = CLIENT_REFUSES,
     .refusing = "certificate",
     .refused = "TLS alert"},
    {.what = "key not for signatures",
     .server = "server_no_signing",
     .verdict = CLIENT_REFUSES,
     .refusing = "key usage does not allow signatures",
     .refused = "TLS alert 42"},
    {.what = "signed with SHA-1",
     .server = "server_sha1",
     .verdict = CLIENT_REFUSES,
     .refusing = "signed with SHA-1",
     .refused = "TLS alert"},
    {.what = "chain deeper than allowed",
     .server = "server_too_deep",
     .verdict = CLIENT_REFUSES,
     .refusing = "certificate",
     .refused = "TLS alert"},
    {.what = "name outside the constraints",
     .server = "server_not_permitted",
     .verdict = CLIENT_REFUSES,
     .refusing = "certificate",
     .refused = "TLS alert"},
    {.what = "issuer is no CA",
     .server = "server_bad_issuer",
     .verdict = CLIENT_REFUSES,
     .refusing = "certificate",
     .refused = "TLS alert"},
};

static void test_who_is_let_in(void **state) {
  (void)state;
  for (size_t i = 0; i < sizeof attempts / sizeof *attempts; i++)
    run_attempt(&attempts[i]);
}

/* What our own configuration check would not let an end do: |cert| and |key| whatever they are. */
static struct tls_context *careless(bool server, const char *cert, const char *key) {
  struct tls_context *context =
      context_of(server, server ? "server" : "client", server ? "client.test" : "server.test");
  char path[128];
  wolfSSL_CTX_SetMinRsaKey_Sz(context->ctx, 1024);
  wolfSSL_CTX_SetMinEccKey_Sz(context->ctx, 224);
  snprintf(path, sizeof path, "%s/%s.pem", sim_certs(), cert);
  assert_int_equal(wolfSSL_CTX_use_certificate_chain_file(context->ctx, path), WOLFSSL_SUCCESS);
  snprintf(path, sizeof path, "%s/%s.key", sim_certs(), key);
  assert_int_equal(wolfSSL_CTX_use_PrivateKey_file(context->ctx, path, WOLFSSL_FILETYPE_PEM), WOLFSSL_SUCCESS);
  return context;
}

static void test_weak_keys_of_the_peer(void **state) {
  (void)state;
  struct attempt attempt = {.what = "server RSA 1024",
                            .verdict = CLIENT_REFUSES,
                            .refusing = "RSA key is shorter than 2048 bits",
                            .refused = "TLS alert"};
  run_contexts(&attempt, context_of(false, "client", "server.test"),
               careless(true, "server_rsa1024", "server_rsa1024"));
  attempt = (struct attempt){.what = "client RSA 1024",
                             .verdict = SERVER_REFUSES,
                             .refusing = "RSA key is shorter than 2048 bits",
                             .refused = "TLS alert"};
  run_contexts(&attempt, careless(false, "client_rsa1024", "client_rsa1024"),
               context_of(true, "server", "client.test"));
}

static void test_nul_in_the_name(void **state) {
  (void)state;
  struct attempt attempt = {
      .what = "NUL in the name", .verdict = CLIENT_REFUSES, .refusing = "handshake: ", .refused = "TLS alert"};
  run_contexts(&attempt, context_of(false, "client", "server.test"), careless(true, "server_nul", "server_nul"));
}

static void test_key_of_another(void **state) {
  (void)state;
  struct attempt attempt = {.what = "client proves with another key",
                            .verdict = SERVER_REFUSES,
                            .refusing = "handshake: ",
                            .refused = "TLS alert"};
  run_contexts(&attempt, careless(false, "client", "client_wrong_name"), context_of(true, "server", "client.test"));
  attempt = (struct attempt){.what = "server proves with another key",
                             .verdict = CLIENT_REFUSES,
                             .refusing = "handshake: ",
                             .refused = "TLS alert"};
  run_contexts(&attempt, context_of(false, "client", "server.test"), careless(true, "server", "server_wrong_name"));
}

/* A client that has no certificate at all. */
static struct tls_context *anonymous(void) {
  struct tls_context *context = context_of(false, "client", "server.test");
  wolfSSL_CTX_free(context->ctx);
  context->ctx = wolfSSL_CTX_new(wolfTLSv1_3_client_method());
  ngtcp2_crypto_wolfssl_configure_client_context(context->ctx);
  char path[128];
  snprintf(path, sizeof path, "%s/ca.pem", sim_certs());
  assert_int_equal(wolfSSL_CTX_load_verify_locations(context->ctx, path, NULL), WOLFSSL_SUCCESS);
  return context;
}

static void test_no_client_certificate(void **state) {
  (void)state;
  struct attempt attempt = {.what = "no client certificate",
                            .verdict = SERVER_REFUSES,
                            .refusing = "no certificate was sent",
                            .refused = "TLS alert 116, certificate required"};
  run_contexts(&attempt, anonymous(), context_of(true, "server", "client.test"));
}

static void test_skip_verify(void **state) {
  (void)state;
  struct attempt attempt = {.what = "client skips", .verdict = ACCEPTED};
  run_contexts(&attempt, context_of(false, "client", NULL), context_of(true, "server_wrong_ca", "client.test"));
  run_contexts(&attempt, context_of(false, "client", NULL), context_of(true, "server_expired", "client.test"));
  attempt.what = "server skips";
  run_contexts(&attempt, context_of(false, "client_self", "server.test"), context_of(true, "server", NULL));
  run_contexts(&attempt, context_of(false, "client_no_eku", "server.test"), context_of(true, "server", NULL));
  attempt.what = "server skips, no client certificate";
  run_contexts(&attempt, anonymous(), context_of(true, "server", NULL));
  /* what one end skips, the other does not */
  attempt = (struct attempt){.what = "only the client skips", .verdict = SERVER_REFUSES, .refusing = "trust"};
  run_contexts(&attempt, context_of(false, "client_wrong_ca", NULL), context_of(true, "server", "client.test"));
}

/* RELIABILITY.md T-3: nothing that could turn a refusal into an acceptance, unless skip_verify asked for it. */
static void test_no_verify_callback(void **state) {
  (void)state;
  for (int server = 0; server <= 1; server++) {
    struct tls_context *context =
        context_of(server, server ? "server" : "client", server ? "client.test" : "server.test");
    assert_null(wolfSSL_CTX_get_verify_callback(context->ctx));
    assert_int_equal(wolfSSL_CTX_get_verify_mode(context->ctx) &
                         (WOLFSSL_VERIFY_PEER | WOLFSSL_VERIFY_FAIL_IF_NO_PEER_CERT),
                     WOLFSSL_VERIFY_PEER | WOLFSSL_VERIFY_FAIL_IF_NO_PEER_CERT);
    tls_context_close(context);
  }
}

static void test_protocol_is_checked(void **state) {
  (void)state;
  struct tls_context *context = context_of(false, "client", "server.test");
  char reason[TLS_REASON_MAX];
  struct tls_session *session = tls_session_open(context, "server.test", NULL);
  assert_non_null(session);
  assert_int_equal(tls_check_peer(session, reason), ERR_TLS); /* no handshake: nothing was agreed on */
  assert_string_equal(reason, "the application protocol is not h3");
  assert_int_equal(tls_check_alert(session), 120);
  tls_context_close(context); /* the session keeps it alive */
  tls_session_close(session);
}

/* Configuration */

static void report_into(void *context, bool fatal, const char *text) {
  char *report = context;
  size_t len = strlen(report);
  snprintf(report + len, SIM_REPORT_MAX - len, "%s%s\n", fatal ? "" : "warning: ", text);
}

static void open_files(const char *ca, const char *cert, const char *key, enum err expected, const char *words) {
  char report[SIM_REPORT_MAX] = "", paths[3][160];
  const char *names[] = {ca, cert, key};
  for (int i = 0; i < 3; i++)
    snprintf(paths[i], sizeof paths[i], "%s/%s", sim_certs(), names[i]);
  struct tls_settings settings = {
      .ca = paths[0], .cert = paths[1], .key = paths[2], .peer_names = {"server.test"}, .peer_name_count = 1};
  struct tls_context *context;
  enum err result = tls_context_open(&context, &settings, report_into, report);
  if (result != expected || (words == NULL ? report[0] != '\0' : strstr(report, words) == NULL))
    fail_msg("%s %s %s: %d, \"%s\", not \"%s\"", ca, cert, key, result, report, words != NULL ? words : "");
  assert_true((context != NULL) == (result == ERR_OK));
  tls_context_close(context);
}

static void test_files(void **state) {
  (void)state;
  open_files("ca.pem", "client.pem", "client.key", ERR_OK, NULL);
  open_files("ca.pem", "client.pem", "client_sec1.key", ERR_OK, NULL);
  open_files("ca.pem", "client_rsa.pem", "client_rsa.key", ERR_OK, NULL);
  open_files("ca.pem", "client_rsa.pem", "client_pkcs1.key", ERR_OK, NULL);
  open_files("ca.pem", "client_expired.pem", "client_expired.key", ERR_OK, "the certificate has expired");
  open_files("ca.pem", "client_not_yet.pem", "client_not_yet.key", ERR_OK, "the certificate is not valid yet");
  open_files("ca.pem", "client_no_eku.pem", "client_no_eku.key", ERR_OK, "extended key usage is missing");
  open_files("ca.pem", "client.pem", "client_wrong_name.key", ERR_BAD_CONFIG, "does not match the certificate");
  open_files("ca.pem", "client_rsa.pem", "client.key", ERR_BAD_CONFIG, "does not match the certificate");
  open_files("ca.pem", "client.pem", "client_encrypted.key", ERR_BAD_CONFIG, "is encrypted");
  open_files("ca.pem", "client_rsa.pem", "client_encrypted_pkcs1.key", ERR_BAD_CONFIG, "is encrypted");
  open_files("ca.pem", "client_rsa1024.pem", "client_rsa1024.key", ERR_BAD_CONFIG, "shorter than 2048 bits");
  open_files("ca.pem", "none.pem", "client.key", ERR_BAD_CONFIG, "tls.cert: cannot open");
  open_files("ca.pem", ".", "client.key", ERR_BAD_CONFIG, "is not a regular file");
  open_files("ca.pem", "client.key", "client.key", ERR_BAD_CONFIG, "no certificate in PEM form");
  open_files("ca.pem", "client.pem", "client.pem", ERR_BAD_CONFIG, "no private key in PEM form");
  open_files("client.key", "client.pem", "client.key", ERR_BAD_CONFIG, "tls.ca: ");
  open_files("expired_ca.pem", "client.pem", "client.key", ERR_BAD_CONFIG, "the certificate has expired");
  open_files("none.pem", "client.pem", "client.key", ERR_BAD_CONFIG, "tls.ca: cannot open");
  open_files("none.pem", "none.pem", "none.key", ERR_BAD_CONFIG, "tls.key: cannot open"); /* all are reported */
}

static void test_curves_too_short(void **state) {
  (void)state;
  const char *const names[] = {"client_p192", "client_p224"};
  for (size_t i = 0; i < 2; i++) {
    char path[128], cert[32], key[32];
    snprintf(path, sizeof path, "%s/%s.pem", sim_certs(), names[i]);
    snprintf(cert, sizeof cert, "%s.pem", names[i]);
    snprintf(key, sizeof key, "%s.key", names[i]);
    if (access(path, R_OK) == 0)
      open_files("ca.pem", cert, key, ERR_BAD_CONFIG, "elliptic curve");
  }
}

static void test_end_of_validity(void **state) {
  (void)state;
  struct tls_context *context = context_of(false, "client_expired", "server.test");
  assert_int_equal(tls_context_not_after(context), 1609459200); /* 2021-01-01 */
  tls_context_close(context);
  context = context_of(false, "client", "server.test");
  assert_in_range(tls_context_not_after(context), time(NULL) + 3600L * 24 * 365, time(NULL) + 3600L * 24 * 3651);
  tls_context_close(context);
}

static void test_key_log(void **state) {
  (void)state;
  char path[128], report[SIM_REPORT_MAX] = "", ca[128], cert[128], key[128], text[4096];
  snprintf(path, sizeof path, "%s/keylog", sim_certs());
  snprintf(ca, sizeof ca, "%s/ca.pem", sim_certs());
  snprintf(cert, sizeof cert, "%s/client.pem", sim_certs());
  snprintf(key, sizeof key, "%s/client.key", sim_certs());
  struct tls_settings settings = {
      .ca = ca, .cert = cert, .key = key, .peer_names = {"server.test"}, .peer_name_count = 1, .keylog_path = path};
  struct tls_context *client;
  assert_int_equal(tls_context_open(&client, &settings, report_into, report), ERR_OK);
  struct attempt attempt = {.what = "key log"};
  run_contexts(&attempt, client, context_of(true, "server", "client.test"));
  FILE *file = fopen(path, "r");
  assert_non_null(file);
  text[fread(text, 1, sizeof text - 1, file)] = '\0';
  fclose(file);
  assert_non_null(strstr(text, "CLIENT_HANDSHAKE_TRAFFIC_SECRET "));
  assert_non_null(strstr(text, "SERVER_TRAFFIC_SECRET_0 "));
}

static void test_alert_texts(void **state) {
  (void)state;
  assert_string_equal(tls_alert_text(42), "bad certificate");
  assert_string_equal(tls_alert_text(48), "unknown CA");
  assert_string_equal(tls_alert_text(1), "unknown alert");
  assert_string_equal(tls_alert_text(255), "unknown alert");
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_who_is_let_in),
      cmocka_unit_test(test_weak_keys_of_the_peer),
      cmocka_unit_test(test_key_of_another),
      cmocka_unit_test(test_nul_in_the_name),
      cmocka_unit_test(test_no_client_certificate),
      cmocka_unit_test(test_skip_verify),
      cmocka_unit_test(test_no_verify_callback),
      cmocka_unit_test(test_protocol_is_checked),
      cmocka_unit_test(test_files),
      cmocka_unit_test(test_curves_too_short),
      cmocka_unit_test(test_end_of_validity),
      cmocka_unit_test(test_key_log),
      cmocka_unit_test(test_alert_texts),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
