/* What is written from config.tbl: the effective configuration, the JSON schema and the reference page. No JSON
   library: the output is three levels deep and its order and white space are ours. */
#include <string.h>

#include "config/config_table.h"

enum { ALLOWED_MAX = 256 };

/* |text| is UTF-8 already: a configuration file that is not is refused. */
static void write_text(FILE *out, const char *text) {
  fputc('"', out);
  for (; *text != '\0'; text++) {
    if (*text == '"' || *text == '\\')
      fprintf(out, "\\%c", *text);
    else if ((unsigned char)*text < 0x20 || *text == 0x7f)
      fprintf(out, "\\u%04x", (unsigned)*text);
    else
      fputc(*text, out);
  }
  fputc('"', out);
}

static void write_list(FILE *out, const struct config_list *list) {
  if (list->count == 1) {
    write_text(out, list->item[0]);
    return;
  }
  for (size_t i = 0; i < list->count; i++) {
    fputs(i == 0 ? "[" : ", ", out);
    write_text(out, list->item[i]);
  }
  fputc(']', out);
}

/* The shortest decimal that reads back as the same number. */
static void write_ratio(FILE *out, double value) {
  char text[32];
  for (int digits = 1; digits <= 17; digits++) {
    snprintf(text, sizeof text, "%.*g", digits, value);
    double back;
    if (sscanf(text, "%lf", &back) == 1 && back == value)
      break;
  }
  fputs(text, out);
}

static void write_value(FILE *out, const struct config *config, const struct config_key *key) {
  const void *field = key_field(config, key);
  unsigned long long number;
  size_t len;
  const char *choice;
  switch (key->type) {
  case KEY_ENUM:
    choice = key_choice(key, (size_t)key_number(config, key), &len);
    must(choice != NULL);
    fprintf(out, "\"%.*s\"", (int)len, choice);
    break;
  case KEY_BOOL:
    fputs(*(const bool *)field ? "true" : "false", out);
    break;
  case KEY_COUNT:
  case KEY_THREADS:
  case KEY_TIME:
  case KEY_SIZE:
    number = *(const uint64_t *)field;
    if (key->type == KEY_THREADS && number == 0)
      fputs("\"auto\"", out);
    else
      fprintf(out, "%llu", number);
    break;
  case KEY_RATIO:
    write_ratio(out, *(const double *)field);
    break;
  case KEY_LISTENERS:
  case KEY_NAMES:
    write_list(out, field);
    break;
  case KEY_FILE:
  case KEY_USER:
  case KEY_LOCAL:
  case KEY_HOST_PORT:
  case KEY_ORIGIN:
  case KEY_LISTENER:
    write_text(out, *(const char *const *)field);
    break;
  }
}

/* False for what has no value to write: keys of the other mode, and texts that are not set. */
static bool has_value(const struct config *config, const struct config_key *key) {
  bool text = key->type >= KEY_FILE;
  return key_in_mode(key, config->general.mode) && (!text || key_number(config, key) != 0);
}

void config_dump(const struct config *config, FILE *out) {
  const char *section = NULL;
  for (size_t i = 0; i < CONFIG_KEYS; i++) {
    const struct config_key *key = &config_keys[i];
    if (!has_value(config, key))
      continue;
    bool same = section != NULL && strcmp(section, key->section) == 0;
    if (!same)
      fprintf(out, "%s  \"%s\": {", section == NULL ? "{\n" : "\n  },\n", key->section);
    fprintf(out, "%s\n    \"%s\": ", same ? "," : "", key->name);
    write_value(out, config, key);
    section = key->section;
  }
  fputs("\n  }\n}\n", out);
}

/* An editor offers the words of the enum; the pattern is there because upper case is allowed. */
static void schema_choices(FILE *out, const struct config_key *key) {
  size_t len;
  const char *choice;
  fputs("\"anyOf\": [{\"enum\": [", out);
  for (size_t i = 0; (choice = key_choice(key, i, &len)) != NULL; i++)
    fprintf(out, "%s\"%.*s\"", i == 0 ? "" : ", ", (int)len, choice);
  fputs("]}, {\"pattern\": \"^(", out);
  for (const char *at = key->choices; *at != '\0'; at++) {
    if (*at == ' ')
      fputc('|', out);
    else
      fprintf(out, "[%c%c]", *at, *at - 'a' + 'A');
  }
  fputs(")$\"}], \"type\": \"string\"", out);
}

static void schema_number(FILE *out, const struct config_key *key) {
  static const char *const patterns[] = {
      [KEY_THREADS] = "^[aA][uU][tT][oO]$",
      [KEY_TIME] = "^[0-9]+(\\\\.[0-9]+)? ?([mM]?[sS]|[mM]([iI][nN])?|[hH])$",
      [KEY_SIZE] = "^[0-9]+(\\\\.[0-9]+)? ?([kKmMgG][iI]?)?[bB]$",
  };
  const char *pattern = key->type == KEY_COUNT ? NULL : patterns[key->type];
  fputs("\"anyOf\": [", out);
  if (key->zero_too)
    fputs("{\"const\": 0}, ", out);
  fprintf(out, "{\"type\": \"integer\", \"minimum\": %llu, \"maximum\": %llu}", (unsigned long long)key->min,
          (unsigned long long)key->max);
  if (pattern != NULL)
    fprintf(out, ", {\"type\": \"string\", \"pattern\": \"%s\"}", pattern);
  fputc(']', out);
}

static void schema_type(FILE *out, const struct config_key *key) {
  static const char text[] = "\"type\": \"string\", \"minLength\": 1";
  switch (key->type) {
  case KEY_ENUM:
    schema_choices(out, key);
    break;
  case KEY_BOOL:
    fputs("\"type\": \"boolean\"", out);
    break;
  case KEY_COUNT:
  case KEY_THREADS:
  case KEY_TIME:
  case KEY_SIZE:
    schema_number(out, key);
    break;
  case KEY_RATIO:
    fprintf(out, "\"type\": \"number\", \"exclusiveMinimum\": %llu, \"maximum\": %llu", (unsigned long long)key->min,
            (unsigned long long)key->max);
    break;
  case KEY_LISTENERS:
  case KEY_NAMES:
    fprintf(out, "\"anyOf\": [{%s}, {\"type\": \"array\", \"items\": {%s}, \"minItems\": 1, \"maxItems\": %d}]", text,
            text, CONFIG_LIST_MAX);
    break;
  case KEY_FILE:
  case KEY_USER:
  case KEY_LOCAL:
  case KEY_HOST_PORT:
  case KEY_ORIGIN:
  case KEY_LISTENER:
    fputs(text, out);
    break;
  }
}

static void schema_key(FILE *out, const struct config_key *key) {
  char allowed[ALLOWED_MAX], description[1024];
  key_allowed(key, allowed, sizeof allowed);
  snprintf(description, sizeof description, "%s. Must be %s%s%s%s.", key->help, allowed, key_allowed_too(key),
           key->default_prose == NULL ? "" : "; without it: ", key->default_prose == NULL ? "" : key->default_prose);
  fprintf(out, "        \"%s\": {\n          \"description\": ", key->name);
  write_text(out, description);
  if (key->default_json != NULL)
    fprintf(out, ",\n          \"default\": %s", key->default_json);
  fputs(",\n          ", out);
  schema_type(out, key);
  fputs("\n        }", out);
}

/* Returns whether there was any. |mode|: the keys that only this mode has. */
static bool schema_required(FILE *out, const char *section, enum key_mode mode, const char *before) {
  bool any = false;
  for (size_t i = 0; i < CONFIG_KEYS; i++) {
    const struct config_key *key = &config_keys[i];
    if (strcmp(key->section, section) != 0 || !key->required || key->mode != mode)
      continue;
    fprintf(out, "%s\"%s\"", any ? ", " : before, key->name);
    any = true;
  }
  if (any)
    fputc(']', out);
  return any;
}

/* What |mode| of the first section requires, and the other mode's keys, which it forbids. */
static void schema_mode(FILE *out, enum key_mode mode) {
  const char *section = config_sections[0].name;
  bool client = mode == IN_CLIENT;
  fprintf(out, "        {\"if\": {\"required\": [\"mode\"], \"properties\": {\"mode\": {\"pattern\": \"%s\"}}},\n",
          client ? "^[cC]" : "^[sS]");
  fputs("         \"then\": {", out);
  schema_required(out, section, mode, "\"required\": [");
  fputs(client ? "\"properties\": {" : ", \"properties\": {", out);
  const char *comma = "";
  for (size_t i = 0; i < CONFIG_KEYS; i++) {
    if (config_keys[i].mode == IN_BOTH || config_keys[i].mode == mode)
      continue;
    fprintf(out, "%s\"%s\": false", comma, config_keys[i].name);
    comma = ", ";
  }
  fprintf(out, "}}}%s\n", client ? "," : "");
}

static void schema_section(FILE *out, const struct config_section *section) {
  fprintf(out, "    \"%s\": {\n      \"description\": ", section->name);
  write_text(out, section->help);
  fputs(",\n      \"type\": \"object\",\n      \"additionalProperties\": false", out);
  schema_required(out, section->name, IN_BOTH, ",\n      \"required\": [");
  if (section == config_sections) {
    fputs(",\n      \"allOf\": [\n", out);
    schema_mode(out, IN_CLIENT);
    schema_mode(out, IN_SERVER);
    fputs("      ]", out);
  }
  const char *before = ",\n      \"properties\": {\n";
  for (size_t i = 0; i < CONFIG_KEYS; i++) {
    if (strcmp(config_keys[i].section, section->name) != 0)
      continue;
    fputs(before, out);
    schema_key(out, &config_keys[i]);
    before = ",\n";
  }
  fputs("\n      }\n    }", out);
}

void config_schema(FILE *out) {
  fputs("{\n  \"$schema\": \"https://json-schema.org/draft/2020-12/schema\",\n"
        "  \"title\": \"configuration of ptproxy (its files may have // and /* */ comments)\",\n"
        "  \"type\": \"object\",\n  \"additionalProperties\": false,\n  \"required\": [\"general\", \"tls\"],\n"
        "  \"properties\": {\n",
        out);
  for (size_t i = 0; i < CONFIG_SECTIONS; i++) {
    fputs(i == 0 ? "" : ",\n", out);
    schema_section(out, &config_sections[i]);
  }
  fputs("\n  }\n}\n", out);
}

static void reference_key(FILE *out, const struct config_key *key) {
  char allowed[ALLOWED_MAX];
  key_allowed(key, allowed, sizeof allowed);
  const char *fallback = key->default_prose == NULL ? "required" : key->default_prose;
  fprintf(out, "| `%s` | ", key->name);
  if (key->default_json != NULL)
    fprintf(out, "`%s`", key->default_json);
  else
    fputs(fallback, out);
  bool counted = key->type == KEY_COUNT && *key->unit != '\0' && strcmp(key->unit, "port") != 0;
  fprintf(out, " | %s%s%s | ", allowed, counted ? " " : "", counted ? key->unit : "");
  fputs(key->help, out);
  if (key->mode != IN_BOTH)
    fputs(key->mode == IN_CLIENT ? " (an error in server mode)" : " (an error in client mode)", out);
  fputs(" |\n", out);
}

void config_reference(FILE *out) {
  fputs(
      "# Configuration reference\n\n"
      "Generated from `src/config/config.tbl`; do not edit. `ptproxy --check -c FILE` checks a file against it,\n"
      "`ptproxy --dump -c FILE` prints the effective configuration, [full.json](full.json) is an annotated example,\n"
      "[schema.json](schema.json) is for editors.\n\n"
      "- The file is JSON in UTF-8; `//` and `/* */` comments are allowed. A key that is not listed here is an error.\n"
      "- Paths of files and UNIX sockets that do not begin with `/` are relative to the configuration file.\n"
      "- Times are whole milliseconds, or a string with a unit: `ms`, `s`, `m` or `min`, `h` (`\"1.5s\"`).\n"
      "- Sizes are whole bytes, or a string with a unit: `B`, `kB`, `KiB`, `MB`, `MiB`, `GB`, `GiB` (`\"64KiB\"`);\n"
      "  `k` is 1000 and `Ki` is 1024, upper or lower case.\n"
      "- Words such as `client` may be written in upper or lower case.\n",
      out);
  for (size_t i = 0; i < CONFIG_SECTIONS; i++) {
    const char *section = config_sections[i].name;
    fprintf(out, "\n## %s\n\n%s\n\n| key | default | allowed | meaning |\n| --- | --- | --- | --- |\n", section,
            config_sections[i].help);
    for (size_t j = 0; j < CONFIG_KEYS; j++) {
      if (strcmp(config_keys[j].section, section) == 0)
        reference_key(out, &config_keys[j]);
    }
  }
}
