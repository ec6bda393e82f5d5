/* The build tells what the libraries are (tools/deps, CMakeLists.txt): their headers belong to other folders. They are
   linked statically, so what was there at build time is what runs. */
#include "run/version.h"

#include <stddef.h>

#include "deps_versions.h"
#include "proto/quic_gcm.h"

void version_print(FILE *out) {
  static const char *const libraries[] = {
      "ngtcp2 " PTP_NGTCP2_VERSION,
      "nghttp3 " PTP_NGHTTP3_VERSION,
      "wolfSSL " PTP_WOLFSSL_VERSION " (" PTP_WOLFSSL_AES ")",
      "llhttp " PTP_LLHTTP_VERSION,
      "liburing " PTP_LIBURING_VERSION,
      "cJSON " PTP_CJSON_VERSION,
#ifdef PTP_IPSEC_MB_VERSION /* not on every architecture */
      "intel-ipsec-mb " PTP_IPSEC_MB_VERSION,
#endif
  };
  fprintf(out, "ptproxy %s\n", PTPROXY_VERSION);
  for (size_t i = 0; i < sizeof libraries / sizeof *libraries; i++)
    fprintf(out, "%s\n", libraries[i]);
  fprintf(out, "AES-GCM on this CPU: %s\n", gcm_name(gcm_code()));
}
