/* Reads the configuration. The file is prepared as text first (config_text.c), because cJSON neither knows comments nor
   says where it stopped in words; then every member of every section is read by its row of config.tbl. Nothing stops at
   the first problem: a person wants to mend them all at once. The defaults are read in the same way as what is written,
   so they cannot break the rules for it. */
#include <cjson/cJSON.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <math.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/address.h"
#include "config/config_table.h"

enum { FILE_BYTES_MAX = 1 << 20, LINE_MAX_BYTES = PATH_MAX + 1024, QUOTE_MAX = 80, ALLOWED_MAX = 256 };

static const double whole_max = 9007199254740992; /* 2^53: a double has every whole number up to it */

struct kept { /* a text of the configuration */
  struct kept *next;
  char bytes[];
};

struct owned_config {
  struct config config;
  struct kept *texts;
};

struct reader {
  struct owned_config *owned;
  const char *name, *directory;
  config_report_f *report;
  void *context;
  size_t fatal_count;
  bool seen[CONFIG_KEYS];
  bool mode_known;
};

/* |where| is "general.quic_port" or "line 3, column 5"; NULL for the file as a whole. */
__attribute__((format(printf, 4, 5))) static void problem(struct reader *reader, bool fatal, const char *where,
                                                          const char *format, ...) {
  char line[LINE_MAX_BYTES], what[LINE_MAX_BYTES / 2], quoted[LINE_MAX_BYTES];
  va_list args;
  va_start(args, format);
  vsnprintf(what, sizeof what, format, args);
  va_end(args);
  snprintf(line, sizeof line, "%s: %s%s%s", reader->name, where == NULL ? "" : where, where == NULL ? "" : ": ", what);
  text_quote(line, quoted, sizeof quoted); /* a path may have a line feed in it */
  reader->fatal_count += fatal ? 1 : 0;
  reader->report(reader->context, fatal, quoted);
}

/* "general.quic_port", or "general.peer_hostname[2]" unless |index| is negative. */
static const char *key_path(const struct config_key *key, int index, char out[QUOTE_MAX]) {
  if (index < 0)
    snprintf(out, QUOTE_MAX, "%s.%s", key->section, key->name);
  else
    snprintf(out, QUOTE_MAX, "%s.%s[%d]", key->section, key->name, index);
  return out;
}

/* "a" followed by "b" as a text of the configuration; NULL (and a problem) when there is no memory. */
static const char *keep(struct reader *reader, const char *a, const char *b) {
  size_t size = strlen(a) + strlen(b) + 1;
  struct kept *kept = malloc(sizeof *kept + size);
  if (kept == NULL) {
    problem(reader, true, NULL, "out of memory");
    return NULL;
  }
  snprintf(kept->bytes, size, "%s%s", a, b);
  kept->next = reader->owned->texts;
  reader->owned->texts = kept;
  return kept->bytes;
}

static const char *got(const cJSON *item, char out[QUOTE_MAX]) {
  char quoted[QUOTE_MAX - 8];
  if (cJSON_IsString(item)) {
    text_quote(item->valuestring, quoted, sizeof quoted);
    snprintf(out, QUOTE_MAX, "\"%s\"", quoted);
  } else if (cJSON_IsNumber(item) && !isfinite(item->valuedouble)) {
    snprintf(out, QUOTE_MAX, "a number that is too large");
  } else if (cJSON_IsNumber(item)) {
    snprintf(out, QUOTE_MAX, "%.15g", item->valuedouble);
  } else {
    bool list = cJSON_IsArray(item);
    snprintf(out, QUOTE_MAX, "%s",
             cJSON_IsNull(item)    ? "null"
             : cJSON_IsFalse(item) ? "false"
             : cJSON_IsTrue(item)  ? "true"
             : list                ? "an array"
                                   : "an object");
  }
  return out;
}

/* Without libm's floor: beyond 2^53 every double is whole. */
static bool is_whole(double number) {
  const double exact_max = 9007199254740992.0;
  return number >= exact_max || number <= -exact_max || number == (double)(int64_t)number;
}

static void wrong(struct reader *reader, const struct config_key *key, int index, const cJSON *item) {
  char path[QUOTE_MAX], value[QUOTE_MAX], allowed[ALLOWED_MAX];
  key_allowed(key, allowed, sizeof allowed);
  bool whole = key->type == KEY_RATIO || !cJSON_IsNumber(item) || is_whole(item->valuedouble);
  problem(reader, true, key_path(key, index, path), "must be %s%s%s, got %s", whole ? "" : "a whole number: ", allowed,
          key_allowed_too(key), got(item, value));
}

static bool number_ok(const struct config_key *key, uint64_t value) {
  return (value >= key->min && value <= key->max) || (value == 0 && key->zero_too);
}

static bool read_number(const struct config_key *key, const cJSON *item, uint64_t *field) {
  uint64_t value = 0;
  bool auto_threads = key->type == KEY_THREADS && cJSON_IsString(item) && strcasecmp(item->valuestring, "auto") == 0;
  if (auto_threads) {
    *field = 0;
    return true;
  }
  if (cJSON_IsNumber(item)) {
    double number = item->valuedouble;
    if (!(number >= 0 && number <= whole_max) || !is_whole(number))
      return false;
    value = (uint64_t)number;
  } else if (!cJSON_IsString(item) || (key->type != KEY_TIME && key->type != KEY_SIZE) ||
             !text_quantity(key->type, item->valuestring, &value)) {
    return false;
  }
  if (!number_ok(key, value))
    return false;
  *field = value;
  return true;
}

static bool read_ratio(const struct config_key *key, const cJSON *item, double *field) {
  double number = cJSON_IsNumber(item) ? item->valuedouble : 0;
  if (!(number > (double)key->min && number <= (double)key->max))
    return false;
  *field = number;
  return true;
}

/* Gives |path| made absolute by the configuration file's directory, so that it means the same wherever the process runs
   and wherever --dump is written to. */
static const char *resolve(struct reader *reader, const char *prefix, const char *path) {
  if (path[0] == '/')
    return keep(reader, prefix, path);
  char directory[PATH_MAX];
  if (realpath(reader->directory, directory) == NULL)
    snprintf(directory, sizeof directory, "%s", reader->directory);
  const char *base = keep(reader, prefix, directory);
  const char *slash = base == NULL ? NULL : keep(reader, base, "/");
  return slash == NULL ? NULL : keep(reader, slash, path);
}

static void check_file(struct reader *reader, const struct config_key *key, const char *path) {
  char where[QUOTE_MAX];
  struct stat status;
  int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
  int failed = fd < 0 || fstat(fd, &status) != 0 ? errno : S_ISDIR(status.st_mode) ? EISDIR : 0;
  if (failed != 0)
    problem(reader, true, key_path(key, -1, where), "cannot read %s: %s", path, strerror(failed));
  if (fd >= 0)
    close(fd);
}

/* Gives one text of |key|, checked; NULL (and a problem) when it is wrong. */
static const char *read_text(struct reader *reader, const struct config_key *key, int index, const cJSON *item) {
  const char *text = cJSON_IsString(item) ? item->valuestring : "";
  bool unix_path = strncmp(text, "unix:", 5) == 0 && text[5] != '\0' && key->type != KEY_NAMES;
  if (unix_path)
    text = resolve(reader, "unix:", text + 5);
  else if (key->type == KEY_FILE && *text != '\0')
    text = resolve(reader, "", text);
  else
    text = keep(reader, text, "");
  if (text == NULL)
    return NULL;
  if (!key_text_ok(key, text)) {
    wrong(reader, key, index, item);
    return NULL;
  }
  if (key->type == KEY_FILE)
    check_file(reader, key, text);
  return text;
}

static void list_add(struct reader *reader, const struct config_key *key, struct config_list *list, int index,
                     const cJSON *item) {
  char path[QUOTE_MAX], value[QUOTE_MAX];
  const char *text = read_text(reader, key, index, item);
  for (size_t i = 0; text != NULL && i < list->count; i++) {
    if (strcasecmp(list->item[i], text) == 0)
      problem(reader, true, key_path(key, index, path), "is there twice: %s", got(item, value));
  }
  if (text != NULL && list->count < CONFIG_LIST_MAX)
    list->item[list->count++] = text;
}

static void read_list(struct reader *reader, const struct config_key *key, const cJSON *item,
                      struct config_list *list) {
  char path[QUOTE_MAX];
  int count = cJSON_IsArray(item) ? cJSON_GetArraySize(item) : 1;
  list->count = 0;
  if (count == 0 || count > CONFIG_LIST_MAX)
    problem(reader, true, key_path(key, -1, path), "must have 1-%d elements, got %d", CONFIG_LIST_MAX, count);
  else if (cJSON_IsArray(item))
    for (int i = 0; i < count; i++)
      list_add(reader, key, list, i, cJSON_GetArrayItem(item, i));
  else
    list_add(reader, key, list, -1, item);
}

/* Reads |item| into the member of |key|; a wrong one leaves what is there. */
static void read_value(struct reader *reader, const struct config_key *key, const cJSON *item) {
  struct config *config = &reader->owned->config;
  void *field = (char *)config + key->offset;
  bool ok = true;
  const char *text;
  int choice;
  switch (key->type) {
  case KEY_ENUM:
    choice = cJSON_IsString(item) ? key_find_choice(key, item->valuestring) : -1;
    ok = choice >= 0;
    if (ok)
      key_set_choice(config, key, choice);
    break;
  case KEY_BOOL:
    ok = cJSON_IsBool(item);
    if (ok)
      *(bool *)field = cJSON_IsTrue(item);
    break;
  case KEY_COUNT:
  case KEY_THREADS:
  case KEY_TIME:
  case KEY_SIZE:
    ok = read_number(key, item, field);
    break;
  case KEY_RATIO:
    ok = read_ratio(key, item, field);
    break;
  case KEY_LISTENERS:
  case KEY_NAMES:
    read_list(reader, key, item, field);
    break;
  case KEY_FILE:
  case KEY_USER:
  case KEY_LOCAL:
  case KEY_HOST_PORT:
  case KEY_ORIGIN:
  case KEY_LISTENER:
    text = read_text(reader, key, -1, item);
    if (text != NULL)
      *(const char **)field = text;
    break;
  }
  if (!ok)
    wrong(reader, key, -1, item);
}

static void read_key(struct reader *reader, const struct config_key *key, const cJSON *item) {
  size_t fatal_count = reader->fatal_count;
  read_value(reader, key, item);
  if (key == &config_keys[CONFIG_KEY_general_mode])
    reader->mode_known = fatal_count == reader->fatal_count;
}

static void unknown(struct reader *reader, const char *section, const char *name) {
  char where[QUOTE_MAX * 2], quoted[QUOTE_MAX], known[1024];
  text_quote(name, quoted, sizeof quoted);
  snprintf(where, sizeof where, "%s%s%s", section == NULL ? "" : section, section == NULL ? "" : ".", quoted);
  bool similar = key_suggest(section, name, known, sizeof known);
  problem(reader, true, where, similar ? "unknown key, did you mean \"%s\"?" : "unknown key, known here: %s", known);
}

static void read_section(struct reader *reader, const char *section, const cJSON *object) {
  char path[QUOTE_MAX], value[QUOTE_MAX];
  const cJSON *item;
  if (!cJSON_IsObject(object)) {
    problem(reader, true, section, "must be an object, got %s", got(object, value));
    return;
  }
  cJSON_ArrayForEach(item, object) {
    const struct config_key *key = config_keys, *end = config_keys + CONFIG_KEYS;
    while (key < end && (strcmp(key->section, section) != 0 || strcmp(key->name, item->string) != 0))
      key++;
    if (key == end)
      unknown(reader, section, item->string);
    else if (reader->seen[key - config_keys])
      problem(reader, true, key_path(key, -1, path), "is there twice");
    else
      read_key(reader, key, item);
    if (key < end)
      reader->seen[key - config_keys] = true;
  }
}

static void read_root(struct reader *reader, const cJSON *root) {
  char value[QUOTE_MAX];
  bool seen[CONFIG_SECTIONS] = {false};
  const cJSON *item;
  if (!cJSON_IsObject(root)) {
    problem(reader, true, NULL, "must be an object, got %s", got(root, value));
    return;
  }
  cJSON_ArrayForEach(item, root) {
    size_t i = 0;
    while (i < CONFIG_SECTIONS && strcmp(config_sections[i].name, item->string) != 0)
      i++;
    if (i == CONFIG_SECTIONS)
      unknown(reader, NULL, item->string);
    else if (seen[i])
      problem(reader, true, item->string, "is there twice");
    else
      read_section(reader, item->string, item);
    if (i < CONFIG_SECTIONS)
      seen[i] = true;
  }
}

static void set_defaults(struct reader *reader) {
  for (size_t i = 0; i < CONFIG_KEYS; i++) {
    if (config_keys[i].default_json == NULL)
      continue;
    cJSON *item = cJSON_Parse(config_keys[i].default_json);
    if (item == NULL)
      problem(reader, true, NULL, "out of memory");
    else
      read_value(reader, &config_keys[i], item);
    cJSON_Delete(item);
  }
}

/* What is missing, and what belongs to the other mode only. */
static void check_modes(struct reader *reader) {
  static const char *const modes[] = {[MODE_CLIENT] = "client", [MODE_SERVER] = "server"};
  struct config *config = &reader->owned->config;
  char path[QUOTE_MAX];
  int mode = config->general.mode;
  for (size_t i = 0; i < CONFIG_KEYS; i++) {
    const struct config_key *key = &config_keys[i];
    bool allowed = key->mode == IN_BOTH || !reader->mode_known || key_in_mode(key, mode);
    bool wanted = key->required && (key->mode == IN_BOTH || (reader->mode_known && allowed));
    key_path(key, -1, path);
    if (reader->seen[i] && !allowed)
      problem(reader, true, path, "not in %s mode", modes[mode]);
    else if (!reader->seen[i] && wanted)
      problem(reader, true, path, "is missing; it is required%s%s%s", key->mode == IN_BOTH ? "" : " in ",
              key->mode == IN_BOTH ? "" : modes[mode], key->mode == IN_BOTH ? "" : " mode");
  }
  if (reader->mode_known && mode == MODE_SERVER)
    config->general.http_bind_address.count = 0;
}

static void complete(struct reader *reader) {
  struct config *config = &reader->owned->config;
  uint64_t twice = 2 * config->transport.initial_window, window = 16 * 1024 * 1024;
  if (twice > window)
    window = twice;
  if (!reader->seen[CONFIG_KEY_transport_receive_window])
    config->transport.receive_window = window;
  if (!reader->seen[CONFIG_KEY_transport_send_window])
    config->transport.send_window = window;
  if (config->tls.skip_verify)
    problem(reader, false, "tls.skip_verify", "is on: ANY peer is accepted, whatever its certificate");
  else if (!reader->seen[CONFIG_KEY_tls_ca])
    problem(reader, false, "tls.ca", "is not set: every authority in the system's store is trusted");
  if (config->transport.keep_alive_interval_ms >= config->transport.max_idle_timeout_ms)
    problem(reader, false, "transport.keep_alive_interval",
            "is not below transport.max_idle_timeout: an idle session will be lost");
  struct address admin;
  if (config->admin.bind_address != NULL && address_parse(&admin, config->admin.bind_address, 0) == ERR_OK &&
      !address_is_local(&admin))
    problem(reader, true, "admin.bind_address", "must be a loopback address or unix:/path: it asks for no password");
}

/* Gives the parsed text, which is changed; NULL (and a problem) when it is not JSON. */
static cJSON *parse_text(struct reader *reader, char *text, size_t len) {
  const char *stop = NULL, *why;
  size_t where, line, column;
  char place[QUOTE_MAX];
  cJSON *root = NULL;
  why = text_prepare(text, len, &where);
  if (why == NULL) {
    root = cJSON_ParseWithLengthOpts(text, len + 1, &stop, true);
    if (root != NULL)
      return root;
    where = stop == NULL ? 0 : (size_t)(stop - text);
    why = text_syntax_problem(text, len, &where);
  }
  text_place(text, where, &line, &column);
  snprintf(place, sizeof place, "line %zu, column %zu", line, column);
  problem(reader, true, place, "%s", why);
  return NULL;
}

static void parse(struct reader *reader, char *text, size_t len) {
  cJSON *root = parse_text(reader, text, len);
  if (root == NULL)
    return;
  set_defaults(reader);
  read_root(reader, root);
  if (cJSON_IsObject(root)) {
    check_modes(reader);
    complete(reader);
  }
  cJSON_Delete(root);
}

enum err config_parse(const char *text, size_t len, const char *name, const char *directory, config_report_f *report,
                      void *context, struct config **config) {
  struct reader reader = {.name = name, .directory = directory, .report = report, .context = context};
  *config = NULL;
  char *copy = malloc(len + 1);
  reader.owned = calloc(1, sizeof *reader.owned);
  if (len > FILE_BYTES_MAX) {
    problem(&reader, true, NULL, "is larger than %d bytes", FILE_BYTES_MAX);
  } else if (copy == NULL || reader.owned == NULL) {
    problem(&reader, true, NULL, "out of memory");
  } else {
    memcpy(copy, text, len);
    copy[len] = '\0';
    parse(&reader, copy, len);
  }
  free(copy);
  if (reader.fatal_count > 0) {
    if (reader.owned != NULL)
      config_free(&reader.owned->config);
    return ERR_BAD_CONFIG;
  }
  *config = &reader.owned->config;
  return ERR_OK;
}

/* At most one byte more than is allowed. ERR_SYSTEM: errno tells. */
must_use static enum err read_file(const char *path, char *text, size_t size, size_t *len) {
  int fd = open(path, O_RDONLY | O_CLOEXEC);
  if (fd < 0)
    return ERR_SYSTEM;
  ssize_t got_bytes = 1;
  *len = 0;
  while (*len < size && got_bytes > 0) {
    got_bytes = read(fd, text + *len, size - *len);
    if (got_bytes > 0)
      *len += (size_t)got_bytes;
    else if (got_bytes < 0 && errno == EINTR)
      got_bytes = 1;
  }
  int failed = errno;
  close(fd);
  errno = failed;
  return got_bytes < 0 ? ERR_SYSTEM : ERR_OK;
}

enum err config_load(const char *path, config_report_f *report, void *context, struct config **config) {
  struct reader reader = {.name = path, .report = report, .context = context};
  const char *slash = strrchr(path, '/');
  size_t len = 0;
  *config = NULL;
  char *text = malloc(FILE_BYTES_MAX + 1);
  char *directory = slash == NULL ? strdup(".") : strndup(path, slash == path ? 1 : (size_t)(slash - path));
  enum err err = ERR_BAD_CONFIG;
  if (text == NULL || directory == NULL)
    problem(&reader, true, NULL, "out of memory");
  else if (read_file(path, text, FILE_BYTES_MAX + 1, &len) != ERR_OK)
    problem(&reader, true, NULL, "cannot be read: %s", strerror(errno));
  else
    err = config_parse(text, len, path, directory, report, context, config);
  free(text);
  free(directory);
  return err;
}

void config_free(struct config *config) {
  if (config == NULL)
    return;
  struct owned_config *owned = container_of(config, struct owned_config, config);
  while (owned->texts != NULL) {
    struct kept *kept = owned->texts;
    owned->texts = kept->next;
    free(kept);
  }
  free(owned);
}
