/* Settings as text: what the command line and the commands at run time say. */
#ifndef PTP_BENCH_LINK_SETTINGS_H
#define PTP_BENCH_LINK_SETTINGS_H

#include <stdbool.h>
#include <stddef.h>

#include "link/link_model.h"

enum { LINK_AB, LINK_BA, LINK_DIRECTIONS };

/* Applies words of the form NAME=VALUE (both directions), ab.NAME=VALUE or ba.NAME=VALUE, separated by spaces. False
   with a text in |error| if a word is wrong; then nothing has changed. */
bool link_settings_apply(struct link_settings settings[LINK_DIRECTIONS], const char *text, char *error,
                         size_t error_size);

/* The words of a profile; NULL: there is none of this name. Static. */
const char *link_profile(const char *name);
/* The names of all profiles, separated by a space. */
void link_profile_names(char *out, size_t size);
/* Writes the settings of one direction as a JSON object with the names and units of the words. The length, or more
   than |size| - 1 if it does not fit. */
size_t link_settings_json(const struct link_settings *settings, char *out, size_t size);

#endif
