/* Secrets that outlive the process without a file of their own: derived from the private key, which both incarnations
   of an end have and nobody else. */
#include <wolfssl/options.h>

#include <wolfssl/wolfcrypt/hmac.h>
#include <wolfssl/wolfcrypt/kdf.h>

#include <fcntl.h>
#include <string.h>
#include <unistd.h>

#include "base/must.h"
#include "proto/tls.h"

enum { KEY_FILE_BYTES_MAX = 65536 };

enum err tls_secret(const char *key_path, const char *label, uint8_t *out, size_t len) {
  static _Thread_local uint8_t text[KEY_FILE_BYTES_MAX];
  int fd = open(key_path, O_RDONLY | O_CLOEXEC);
  if (fd < 0)
    return ERR_SYSTEM;
  ssize_t size = read(fd, text, sizeof text);
  close(fd);
  if (size <= 0)
    return ERR_SYSTEM;
  size_t label_len = strlen(label);
  must(label_len > 0 && len > 0 && len <= 255 * 32);
  int result =
      wc_HKDF(WC_SHA256, text, (word32)size, (const byte *)label, (word32)label_len, NULL, 0, out, (word32)len);
  explicit_bzero(text, (size_t)size);
  return result == 0 ? ERR_OK : ERR_TLS;
}
