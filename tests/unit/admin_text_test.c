#include "unit/support.h"

#include <cjson/cJSON.h>
#include <stdlib.h>
#include <string.h>

#include "run/admin.h"

static struct admin_view *view;
static char out[ADMIN_BODY_MAX];

static int set_up(void **state) {
  (void)state;
  view = aligned_alloc(_Alignof(struct admin_view), sizeof *view);
  if (view == NULL)
    return 1;
  memset(view, 0, sizeof *view);
  view->workers = 1;
  return 0;
}

static int tear_down(void **state) {
  (void)state;
  free(view);
  return 0;
}

static cJSON *parse(size_t len) {
  assert_int_equal(len, strlen(out));
  cJSON *root = cJSON_ParseWithOpts(out, NULL, true);
  assert_non_null(root);
  return root;
}

static void assert_member(const cJSON *object, const char *name, double expected) {
  const cJSON *member = cJSON_GetObjectItemCaseSensitive(object, name);
  assert_true(cJSON_IsNumber(member));
  assert_true(cJSON_GetNumberValue(member) == expected);
}

static const char *string_of(const cJSON *object, const char *name) {
  const char *text = cJSON_GetStringValue(cJSON_GetObjectItemCaseSensitive(object, name));
  assert_non_null(text);
  return text;
}

static void test_ready(void **state) {
  (void)state;
  static const struct {
    bool server, up, draining, ready;
    const char *name;
  } rows[] = {{false, false, false, false, "connecting"},
              {true, false, false, false, "waiting"},
              {true, true, false, true, "up"},
              {false, true, true, false, "stopping"}};
  for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
    view->server = rows[i].server;
    view->report.up = rows[i].up;
    view->draining = rows[i].draining;
    assert_int_equal(admin_is_ready(view), rows[i].ready);
    cJSON *root = parse(admin_text_ready(view, out, sizeof out));
    assert_int_equal(cJSON_IsTrue(cJSON_GetObjectItem(root, "ready")), rows[i].ready);
    assert_string_equal(string_of(root, "state"), rows[i].name);
    cJSON_Delete(root);
  }
}

/* The reason may be the peer's words. */
static void test_text_of_others(void **state) {
  (void)state;
  memcpy(view->report.reason, "a\"b\\c\n\x1b\xff<script>", 17);
  cJSON *root = parse(admin_text_ready(view, out, sizeof out));
  assert_string_equal(string_of(root, "reason"), "a\"b\\c\n\x1b\xc3\xbf<script>");
  cJSON_Delete(root);
  assert_null(memchr(out, 0x1b, strlen(out)));
}

static void test_status(void **state) {
  (void)state;
  view->server = true;
  view->report = (struct session_report){.up = true, .established = 7, .lost = 6, .failed = 5, .open = 1};
  view->certificate_not_after_s = 4102444800;
  view->up_ns = 1500000000;
  view->sessions = 2;
  view->session[0].up = true;
  view->session[0].stats = (struct quic_stats){.rtt_smoothed_ns = 20000001, .packets_lost = 3, .mtu = 1452};
  metrics_add(&view->sum.requests_5xx, 9);
  cJSON *root = parse(admin_text_status(view, out, sizeof out));
  assert_member(root, "up_seconds", 1.5);
  assert_member(root, "certificate_not_after", 4102444800);
  assert_member(cJSON_GetObjectItem(root, "link"), "established", 7);
  assert_member(cJSON_GetObjectItem(root, "requests"), "5xx", 9);
  cJSON *sessions = cJSON_GetObjectItem(root, "sessions");
  assert_int_equal(cJSON_GetArraySize(sessions), 2);
  const cJSON *first = cJSON_GetArrayItem(sessions, 0);
  assert_true(cJSON_IsTrue(cJSON_GetObjectItem(first, "up")));
  assert_member(cJSON_GetObjectItem(first, "rtt_seconds"), "smoothed", 0.020000001);
  assert_member(cJSON_GetObjectItem(first, "packets"), "lost", 3);
  assert_member(first, "mtu_bytes", 1452);
  cJSON_Delete(root);
}

static void test_metrics(void **state) {
  (void)state;
  view->workers = 2;
  view->lag_ns[1] = 2500000;
  view->certificate_not_after_s = 4102444800;
  assert_true(admin_text_metrics(view, out, sizeof out) > 0);
  assert_non_null(strstr(out, "\nptproxy_loop_lag_seconds{thread=\"1\"} 0.002500000\n"));
  assert_non_null(strstr(out, "\nptproxy_tls_certificate_not_after_seconds 4102444800\n"));
  assert_non_null(strstr(out, "mode=\"client\"} 1\n"));
  assert_non_null(strstr(out, "\n# TYPE ptproxy_http_request_seconds histogram\n"));
}

/* With all that can be told, it fits; into less it is not cut but refused. */
static void test_room(void **state) {
  (void)state;
  typedef size_t write_f(const struct admin_view *, char *, size_t);
  static write_f *const all[] = {admin_text_metrics, admin_text_status, admin_text_people, admin_text_ready};
  view->workers = ADMIN_WORKERS_MAX;
  view->sessions = ADMIN_SESSIONS_MAX;
  memset(view->report.reason, '\x7f', sizeof view->report.reason - 1);
  memset(&view->session, 0xff, sizeof view->session);
  for (size_t i = 0; i < ADMIN_SESSIONS_MAX; i++) {
    view->session[i].name[QUIC_NAME_MAX - 1] = '\0';
    view->session[i].peer.len = view->session[i].local.len = 0;
    view->session[i].up = true;
  }
  for (size_t i = 0; i < ADMIN_WORKERS_MAX; i++)
    view->lag_ns[i] = UINT64_MAX;
  for (size_t i = 0; i < sizeof all / sizeof *all; i++) {
    size_t need = all[i](view, out, sizeof out);
    assert_true(need > 0);
    assert_int_equal(all[i](view, out, need + 1), need);
    for (size_t size = 0; size <= need; size += size < 50 || size > need - 50 ? 1 : 97) {
      char *exact = malloc(size + 1);
      assert_non_null(exact);
      exact[size] = 'x';
      assert_int_equal(all[i](view, exact, size), 0);
      assert_int_equal(exact[size], 'x');
      free(exact);
    }
  }
}

static void test_page(void **state) {
  (void)state;
  assert_true(strlen(admin_page) > 1000 && strlen(admin_page) < ADMIN_BODY_MAX);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test_setup_teardown(test_ready, set_up, tear_down),
      cmocka_unit_test_setup_teardown(test_text_of_others, set_up, tear_down),
      cmocka_unit_test_setup_teardown(test_status, set_up, tear_down),
      cmocka_unit_test_setup_teardown(test_metrics, set_up, tear_down),
      cmocka_unit_test_setup_teardown(test_room, set_up, tear_down),
      cmocka_unit_test(test_page),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
