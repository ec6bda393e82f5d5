/* From the configuration to TLS: for the start, for SIGHUP and for --check. */
#ifndef PTP_RUN_CREDENTIALS_H
#define PTP_RUN_CREDENTIALS_H

#include "config/config.h"
#include "proto/tls.h"

/* The settings that |config| asks for; its texts are borrowed. */
struct tls_settings credentials_settings(const struct config *config);

/* Loads the certificates and the key as a start would and forgets them again. Every problem goes to |report|, each
   beginning with |name|, the configuration file's. ERR_OK or ERR_BAD_CONFIG. */
must_use enum err credentials_check(const struct config *config, const char *name, config_report_f *report,
                                    void *context);

#endif
