/* wolfSSL contexts and sessions. What makes the authentication mutual is in three places: the verify mode set here, the
   extended key usage and the names checked in tls_check.c after the handshake, and quic_cb.c, which lets no application
   in before that check. There is no verify callback that could turn a refusal into an acceptance (RELIABILITY.md T-3),
   save the one that skip_verify asks for.

   Files are read here rather than by wolfSSL, so that a report can tell a missing file from a broken one. */
#include "proto/tls.h"

#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <wolfssl/options.h>

#include <ngtcp2/ngtcp2_crypto_wolfssl.h>
#include <wolfssl/quic.h>
#include <wolfssl/ssl.h>
#include <wolfssl/wolfcrypt/error-crypt.h>

#include "base/must.h"
#include "proto/tls_priv.h"

enum { FILE_BYTES_MAX = 4 << 20, RSA_BITS_MIN = 2048, ECC_BITS_MIN = 256 };
enum { TRANSPORT_PARAMETERS_EXTENSION = 0x39 }; /* RFC 9001 section 8.2 */

struct loading {
  struct tls_context *context;
  tls_report_f *report;
  void *report_context;
  bool failed;
};

static void complain(struct loading *loading, const char *format, ...) __attribute__((format(printf, 2, 3)));
static void complain(struct loading *loading, const char *format, ...) {
  char text[512];
  va_list args;
  va_start(args, format);
  vsnprintf(text, sizeof text, format, args);
  va_end(args);
  loading->report(loading->report_context, true, text);
  loading->failed = true;
}

/* The whole file, in memory that the caller frees; NULL after a complaint. */
static uint8_t *read_file(struct loading *loading, const char *what, const char *path, size_t *len) {
  FILE *file = fopen(path, "rbe");
  struct stat status;
  if (file == NULL || fstat(fileno(file), &status) != 0) {
    complain(loading, "%s: cannot open %s: %s", what, path, strerror(errno));
    if (file != NULL)
      fclose(file);
    return NULL;
  }
  uint8_t *data = NULL;
  if (!S_ISREG(status.st_mode)) {
    complain(loading, "%s: %s is not a regular file", what, path);
  } else if (status.st_size > FILE_BYTES_MAX) {
    complain(loading, "%s: %s is larger than 4 MiB", what, path);
  } else if ((data = malloc((size_t)status.st_size + 1)) == NULL) {
    complain(loading, "%s: out of memory", what);
  } else {
    *len = fread(data, 1, (size_t)status.st_size, file);
    if (ferror(file)) {
      complain(loading, "%s: cannot read %s: %s", what, path, strerror(errno));
      free(data);
      data = NULL;
    }
  }
  fclose(file);
  return data;
}

static bool contains(const uint8_t *data, size_t len, const char *text) {
  return memmem(data, len, text, strlen(text)) != NULL;
}

static void load_ca(struct loading *loading, const char *path) {
  WOLFSSL_CTX *ctx = loading->context->ctx;
  if (path == NULL) {
    if (wolfSSL_CTX_load_system_CA_certs(ctx) != WOLFSSL_SUCCESS)
      complain(loading, "tls.ca: the system's store of certificate authorities could not be loaded");
    return;
  }
  size_t len;
  uint8_t *pem = read_file(loading, "tls.ca", path, &len);
  if (pem == NULL)
    return;
  int result = contains(pem, len, "-----BEGIN CERTIFICATE-----")
                   ? wolfSSL_CTX_load_verify_buffer(ctx, pem, (long)len, WOLFSSL_FILETYPE_PEM)
                   : ASN_NO_PEM_HEADER;
  if (result != WOLFSSL_SUCCESS)
    complain(loading, "tls.ca: %s: %s", path, tls_error_text(result));
  free(pem);
}

static bool load_cert(struct loading *loading, const char *path) {
  size_t len;
  uint8_t *pem = read_file(loading, "tls.cert", path, &len);
  if (pem == NULL)
    return false;
  int result = contains(pem, len, "-----BEGIN CERTIFICATE-----")
                   ? wolfSSL_CTX_use_certificate_chain_buffer(loading->context->ctx, pem, (long)len)
                   : ASN_NO_PEM_HEADER;
  bool loaded = result == WOLFSSL_SUCCESS;
  if (!loaded)
    complain(loading, "tls.cert: %s: %s", path, tls_error_text(result));
  else if (!tls_check_own(loading->context, path, pem, len, loading->report, loading->report_context))
    complain(loading, "tls.cert: %s: the certificate cannot be read", path);
  free(pem);
  return loaded;
}

static bool load_key(struct loading *loading, const char *path) {
  size_t len;
  uint8_t *pem = read_file(loading, "tls.key", path, &len);
  if (pem == NULL)
    return false;
  bool loaded = false;
  if (contains(pem, len, "BEGIN ENCRYPTED PRIVATE KEY") || contains(pem, len, "Proc-Type: 4,ENCRYPTED")) {
    complain(loading, "tls.key: %s is encrypted; a key without a pass phrase is needed", path);
  } else if (!contains(pem, len, "PRIVATE KEY-----")) {
    complain(loading, "tls.key: %s: no private key in PEM form in it", path);
  } else {
    int result = wolfSSL_CTX_use_PrivateKey_buffer(loading->context->ctx, pem, (long)len, WOLFSSL_FILETYPE_PEM);
    loaded = result == WOLFSSL_SUCCESS;
    if (!loaded)
      complain(loading, "tls.key: %s: %s", path, tls_error_text(result));
  }
  explicit_bzero(pem, len);
  free(pem);
  return loaded;
}

static void load_files(struct loading *loading, const struct tls_settings *settings) {
  if (!settings->skip_verify)
    load_ca(loading, settings->ca);
  bool cert = load_cert(loading, settings->cert);
  bool key = load_key(loading, settings->key);
  if (cert && key && wolfSSL_CTX_check_private_key(loading->context->ctx) != WOLFSSL_SUCCESS)
    complain(loading, "tls.key: %s does not match the certificate %s", settings->key, settings->cert);
}

/* skip_verify on a server: the certificate is still asked for, so that the peer need not be configured anew, but
   whatever comes is taken. Installed in no other case. */
static int accept_any(int preverify, WOLFSSL_X509_STORE_CTX *store) {
  (void)preverify, (void)store;
  return 1;
}

static void set_verify(struct tls_context *context) {
  if (!context->skip_verify)
    wolfSSL_CTX_set_verify(context->ctx, WOLFSSL_VERIFY_PEER | WOLFSSL_VERIFY_FAIL_IF_NO_PEER_CERT, NULL);
  else if (context->server)
    wolfSSL_CTX_set_verify(context->ctx, WOLFSSL_VERIFY_PEER, accept_any);
  else
    wolfSSL_CTX_set_verify(context->ctx, WOLFSSL_VERIFY_NONE, NULL);
}

static bool cpu_has_aes(void) {
  FILE *file = fopen("/proc/cpuinfo", "re");
  if (file == NULL)
    return true;
  char line[4096];
  bool found = false;
  while (!found && fgets(line, sizeof line, file) != NULL)
    found = (strncmp(line, "flags", 5) == 0 || strncmp(line, "Features", 8) == 0) && strstr(line, " aes") != NULL;
  fclose(file);
  return found;
}

static bool set_algorithms(struct tls_context *context) {
  int groups[] = {WOLFSSL_ECC_X25519, WOLFSSL_ECC_SECP256R1, WOLFSSL_ECC_SECP384R1, WOLFSSL_ECC_SECP521R1};
  const char *ciphers = cpu_has_aes()
                            ? "TLS13-AES128-GCM-SHA256:TLS13-AES256-GCM-SHA384:TLS13-CHACHA20-POLY1305-SHA256"
                            : "TLS13-CHACHA20-POLY1305-SHA256:TLS13-AES128-GCM-SHA256:TLS13-AES256-GCM-SHA384";
  return wolfSSL_CTX_set_cipher_list(context->ctx, ciphers) == WOLFSSL_SUCCESS &&
         wolfSSL_CTX_set_groups(context->ctx, groups, sizeof groups / sizeof *groups) == WOLFSSL_SUCCESS &&
         wolfSSL_CTX_SetMinRsaKey_Sz(context->ctx, RSA_BITS_MIN) == WOLFSSL_SUCCESS &&
         wolfSSL_CTX_SetMinEccKey_Sz(context->ctx, ECC_BITS_MIN) == WOLFSSL_SUCCESS;
}

/* No tickets and no 0-RTT: resumption would skip the check of the peer's certificate (T-6). */
static bool set_up(struct tls_context *context) {
  WOLFSSL_CTX *ctx = context->ctx;
  if (context->server) {
    ngtcp2_crypto_wolfssl_configure_server_context(ctx);
    wolfSSL_CTX_no_ticket_TLSv13(ctx);
  } else {
    ngtcp2_crypto_wolfssl_configure_client_context(ctx);
  }
  wolfSSL_CTX_set_session_cache_mode(ctx, WOLFSSL_SESS_CACHE_OFF);
  set_verify(context);
  return set_algorithms(context);
}

/* One write(2) a line: several threads may log to the same file. */
static void keylog_write(const WOLFSSL *ssl, const char *line) {
  const struct tls_context *context = wolfSSL_CTX_get_ex_data(wolfSSL_get_SSL_CTX(ssl), 0);
  char text[512];
  int len = snprintf(text, sizeof text, "%s\n", line);
  if (context != NULL && context->keylog_fd >= 0 && len > 0 && (size_t)len < sizeof text &&
      write(context->keylog_fd, text, (size_t)len) < 0)
    return; /* a debugging aid: nothing depends on it */
}

static void open_keylog(struct loading *loading, const char *path) {
  struct tls_context *context = loading->context;
  if (path == NULL)
    return;
  context->keylog_fd = open(path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
  if (context->keylog_fd < 0) {
    complain(loading, "key log: cannot open %s: %s", path, strerror(errno));
    return;
  }
  wolfSSL_CTX_set_ex_data(context->ctx, 0, context);
  wolfSSL_CTX_set_keylog_callback(context->ctx, keylog_write);
}

static bool copy_names(struct tls_context *context, const struct tls_settings *settings) {
  must(settings->peer_name_count <= TLS_NAMES_MAX);
  for (size_t i = 0; i < settings->peer_name_count; i++) {
    char *name = strdup(settings->peer_names[i]);
    if (name == NULL)
      return false;
    size_t len = strlen(name);
    if (len > 1 && name[len - 1] == '.')
      name[len - 1] = '\0';
    context->peer_names[context->peer_name_count++] = name;
  }
  return true;
}

enum err tls_context_open(struct tls_context **out, const struct tls_settings *settings, tls_report_f *report,
                          void *report_context) {
  struct tls_context *context = calloc(1, sizeof *context);
  struct loading loading = {.context = context, .report = report, .report_context = report_context};
  *out = NULL;
  wolfSSL_Init();
  if (context == NULL) {
    complain(&loading, "tls: out of memory");
    return ERR_BAD_CONFIG;
  }
  *context = (struct tls_context){
      .references = 1, .server = settings->server, .skip_verify = settings->skip_verify, .keylog_fd = -1};
  context->ctx = wolfSSL_CTX_new(settings->server ? wolfTLSv1_3_server_method() : wolfTLSv1_3_client_method());
  if (context->ctx == NULL || !copy_names(context, settings) || !set_up(context)) {
    complain(&loading, "tls: wolfSSL could not be set up");
  } else {
    load_files(&loading, settings);
    open_keylog(&loading, settings->keylog_path);
    if (!settings->skip_verify && settings->peer_name_count == 0)
      complain(&loading, "tls: there is no name to check the peer's certificate against");
  }
  if (loading.failed) {
    tls_context_close(context);
    return ERR_BAD_CONFIG;
  }
  *out = context;
  return ERR_OK;
}

void tls_context_close(struct tls_context *context) {
  if (context == NULL)
    return;
  must(context->references > 0);
  if (--context->references > 0)
    return;
  if (context->ctx != NULL)
    wolfSSL_CTX_free(context->ctx);
  if (context->keylog_fd >= 0)
    close(context->keylog_fd);
  for (size_t i = 0; i < context->peer_name_count; i++)
    free(context->peer_names[i]);
  free(context);
}

int64_t tls_context_not_after(const struct tls_context *context) { return context->not_after; }

/* RFC 6066 section 3: no literal addresses, no trailing dot. */
static bool set_server_name(WOLFSSL *ssl, const char *name) {
  if (name == NULL || tls_name_is_ip(name))
    return true;
  size_t len = strlen(name);
  if (len > 1 && name[len - 1] == '.')
    len--;
  return wolfSSL_UseSNI(ssl, WOLFSSL_SNI_HOST_NAME, name, (unsigned short)len) == WOLFSSL_SUCCESS;
}

struct tls_session *tls_session_open(struct tls_context *context, const char *server_name, void *conn_ref) {
  struct tls_session *session = calloc(1, sizeof *session);
  char protocol[] = "h3";
  if (session == NULL)
    return NULL;
  *session = (struct tls_session){.context = context, .ssl = wolfSSL_new(context->ctx)};
  if (session->ssl == NULL) {
    free(session);
    return NULL;
  }
  context->references++;
  wolfSSL_set_app_data(session->ssl, conn_ref);
  wolfSSL_set_quic_transport_version(session->ssl, TRANSPORT_PARAMETERS_EXTENSION);
  if (context->server)
    wolfSSL_set_accept_state(session->ssl);
  else
    wolfSSL_set_connect_state(session->ssl);
  if (wolfSSL_UseALPN(session->ssl, protocol, 2, WOLFSSL_ALPN_FAILED_ON_MISMATCH) != WOLFSSL_SUCCESS ||
      (!context->server && !set_server_name(session->ssl, server_name))) {
    tls_session_close(session);
    return NULL;
  }
  return session;
}

void tls_session_close(struct tls_session *session) {
  if (session == NULL)
    return;
  wolfSSL_free(session->ssl);
  tls_context_close(session->context);
  free(session);
}

void *tls_session_native(struct tls_session *session) { return session->ssl; }
