/* The endpoint: finds the connection that a datagram belongs to, and is the front door for all that belong to none.

   Until a client's address is proven, nothing is kept for it beyond the bounds handshakes_max and connections_max, and
   nothing sent to it is larger than what came in: version negotiation, Retry (from a quarter of handshakes_max on) and
   refusals are answered without state. Stateless resets carry a token derived from reset_key and the connection ID: an
   endpoint that was restarted with the same key tells its peers at once that their connections are gone. */
#include "proto/quic.h"

#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/must.h"
#include "base/random.h"
#include "proto/quic_priv.h"

enum {
  RATE_BURST = 64, /* resets, and version negotiations, at once and a second */
  RATE_PER_SECOND = 100,
  RESET_BYTES_MAX = 43,
  RESET_BYTES_MIN = 21, /* RFC 9000 section 10.3 */
  RETRY_TOKEN_SECONDS = 10,
};

static const uint32_t versions[] = {NGTCP2_PROTO_VER_V1, NGTCP2_PROTO_VER_V2};

/* What ngtcp2 keeps: bytes that came out of order, which the windows bound, and for each packet in flight. */
#define ARENA_BYTES_MAX (256u << 20)

static void *memory_malloc(size_t size, void *arena) { return arena_malloc(arena, size); }
static void memory_free(void *block, void *arena) { arena_free(arena, block); }
static void *memory_calloc(size_t count, size_t size, void *arena) { return arena_calloc(arena, count, size); }
static void *memory_realloc(void *block, size_t size, void *arena) { return arena_realloc(arena, block, size); }

struct arena *quic_endpoint_arena(struct quic_endpoint *endpoint) {
  return &endpoint->arena;
}

/* Opening and closing */

enum err quic_endpoint_open(struct quic_endpoint **out, const struct quic_settings *settings,
                            const struct quic_events *events, void *context) {
  struct quic_endpoint *endpoint = calloc(1, sizeof *endpoint);
  uint32_t buckets = 64;
  while (buckets < 8 * settings->connections_max)
    buckets *= 2;
  struct quic_route **table = calloc(buckets, sizeof(struct quic_route *));
  *out = NULL;
  if (endpoint == NULL || table == NULL ||
      pool_open(&endpoint->conns, settings->server ? "quic_server" : "quic_client", sizeof(struct quic_conn),
                settings->connections_max) != ERR_OK) {
    free(table);
    free(endpoint);
    return ERR_NO_MEMORY;
  }
  endpoint->settings = *settings;
  endpoint->events = events;
  endpoint->context = context;
  endpoint->accepting = settings->server;
  endpoint->buckets = table;
  arena_open(&endpoint->arena, ARENA_BYTES_MAX + 2 * settings->receive_window);
  endpoint->memory = (ngtcp2_mem){&endpoint->arena, memory_malloc, memory_free, memory_calloc, memory_realloc};
  endpoint->bucket_mask = buckets - 1;
  list_init(&endpoint->all);
  list_init(&endpoint->ready);
  random_fill(endpoint->hash_key, sizeof endpoint->hash_key);
  *out = endpoint;
  return ERR_OK;
}

void quic_endpoint_close(struct quic_endpoint *endpoint) {
  if (endpoint == NULL)
    return;
  must(list_empty(&endpoint->all));
  quic_cc_use(NULL);
  arena_close(&endpoint->arena);
  pool_close(&endpoint->conns);
  free(endpoint->buckets);
  explicit_bzero(endpoint->settings.reset_key, sizeof endpoint->settings.reset_key);
  free(endpoint);
}

void quic_endpoint_set_tls(struct quic_endpoint *endpoint, struct tls_context *tls) { endpoint->settings.tls = tls; }
void quic_endpoint_accept(struct quic_endpoint *endpoint, bool accept) { endpoint->accepting = accept; }
uint32_t quic_endpoint_count(const struct quic_endpoint *endpoint) { return endpoint->conns.live; }

const struct quic_endpoint_counters *quic_endpoint_counters(const struct quic_endpoint *endpoint) {
  return &endpoint->counters;
}

struct quic_conn *quic_endpoint_ready(struct quic_endpoint *endpoint) {
  struct list *node = list_pop(&endpoint->ready);
  return node == NULL ? NULL : container_of(node, struct quic_conn, ready);
}

struct quic_conn *quic_connect(struct quic_endpoint *endpoint, const struct address *local,
                               const struct address *remote, const char *server_name, uint64_t now_ns) {
  must(!endpoint->settings.server);
  struct quic_conn *conn = quic_conn_new(endpoint, local, remote, server_name, NULL, now_ns);
  if (conn != NULL)
    quic_mark_ready(conn);
  return conn;
}

/* Routing. The client chooses its first destination ID, so the hash is keyed. */

static struct quic_route **bucket_of(const struct quic_endpoint *endpoint, const uint8_t *cid, size_t len) {
  uint64_t hash = endpoint->hash_key[0] ^ len;
  for (size_t i = 0; i < len; i += sizeof(uint64_t)) {
    uint64_t word = 0;
    memcpy(&word, cid + i, len - i < sizeof word ? len - i : sizeof word);
    hash = (hash ^ word) * (endpoint->hash_key[1] | 1);
    hash ^= hash >> 29;
  }
  hash *= 0x9e3779b97f4a7c15;
  return &endpoint->buckets[(hash >> 32) & endpoint->bucket_mask];
}

static struct quic_conn *route(const struct quic_endpoint *endpoint, const uint8_t *cid, size_t len) {
  for (const struct quic_route *at = *bucket_of(endpoint, cid, len); at != NULL; at = at->next)
    if (at->cid.datalen == len && memcmp(at->cid.data, cid, len) == 0)
      return at->conn;
  return NULL;
}

bool quic_route_add(struct quic_conn *conn, const ngtcp2_cid *cid) {
  if (route(conn->endpoint, cid->data, cid->datalen) != NULL)
    return false;
  for (size_t i = 0; i < QUIC_CIDS_MAX; i++) {
    struct quic_route *slot = &conn->routes[i];
    if (slot->conn != NULL)
      continue;
    struct quic_route **bucket = bucket_of(conn->endpoint, cid->data, cid->datalen);
    *slot = (struct quic_route){.next = *bucket, .conn = conn, .cid = *cid};
    *bucket = slot;
    return true;
  }
  return false;
}

void quic_route_remove(struct quic_conn *conn, const ngtcp2_cid *cid) {
  struct quic_route **at = bucket_of(conn->endpoint, cid->data, cid->datalen);
  for (; *at != NULL; at = &(*at)->next) {
    struct quic_route *slot = *at;
    if (slot->conn == conn && ngtcp2_cid_eq(&slot->cid, cid)) {
      *at = slot->next;
      slot->conn = NULL;
      return;
    }
  }
}

/* The worker's index comes first: a socket filter steers by it. */
void quic_cid_make(const struct quic_endpoint *endpoint, ngtcp2_cid *cid) {
  cid->datalen = QUIC_CID_BYTES;
  random_fill(cid->data, QUIC_CID_BYTES);
  cid->data[0] = (uint8_t)(endpoint->settings.worker >> 8);
  cid->data[1] = (uint8_t)endpoint->settings.worker;
}

static bool cid_is_of_worker(const struct quic_endpoint *endpoint, const uint8_t *cid) {
  return (cid[0] << 8 | cid[1]) == endpoint->settings.worker;
}

bool quic_reset_token(const struct quic_endpoint *endpoint, const ngtcp2_cid *cid, uint8_t *token) {
  return ngtcp2_crypto_generate_stateless_reset_token(token, endpoint->settings.reset_key,
                                                      sizeof endpoint->settings.reset_key, cid) == 0;
}

/* Answers without a connection */

static bool rate_ok(struct quic_rate *rate, uint64_t now_ns) {
  uint64_t refill = (now_ns - rate->refilled_ns) / (NS_PER_S / RATE_PER_SECOND);
  if (refill > 0) {
    rate->used -= refill < rate->used ? (uint32_t)refill : rate->used;
    rate->refilled_ns = now_ns;
  }
  if (rate->used >= RATE_BURST)
    return false;
  rate->used++;
  return true;
}

/* The next free answer, addressed; it counts once answer_done is called. NULL: too many are waiting. */
static struct quic_answer *answer_begin(struct quic_endpoint *endpoint, const ngtcp2_path *path) {
  if (endpoint->answer_count == QUIC_ANSWERS_MAX) {
    endpoint->counters.dropped++;
    return NULL;
  }
  struct quic_answer *answer = &endpoint->answers[(endpoint->answer_first + endpoint->answer_count) % QUIC_ANSWERS_MAX];
  address_set(&answer->local, (const struct sockaddr *)(const void *)path->local.addr, path->local.addrlen);
  address_set(&answer->remote, (const struct sockaddr *)(const void *)path->remote.addr, path->remote.addrlen);
  return answer;
}

static void answer_done(struct quic_endpoint *endpoint, struct quic_answer *answer, ngtcp2_ssize len,
                        uint64_t *counter) {
  if (len <= 0) {
    endpoint->counters.dropped++;
    return;
  }
  answer->len = (size_t)len;
  endpoint->answer_count++;
  (*counter)++;
}

bool quic_endpoint_emit(struct quic_endpoint *endpoint, uint8_t *buffer, size_t size, struct quic_train *train) {
  if (endpoint->answer_count == 0)
    return false;
  const struct quic_answer *answer = &endpoint->answers[endpoint->answer_first];
  must(size >= answer->len);
  memcpy(buffer, answer->data, answer->len);
  *train = (struct quic_train){
      .len = answer->len, .segment_bytes = answer->len, .local = answer->local, .remote = answer->remote};
  endpoint->answer_first = (endpoint->answer_first + 1) % QUIC_ANSWERS_MAX;
  endpoint->answer_count--;
  return true;
}

static void answer_version(struct quic_endpoint *endpoint, const ngtcp2_path *path, const ngtcp2_version_cid *got,
                           uint64_t now_ns) {
  if (!endpoint->settings.server || !rate_ok(&endpoint->versions, now_ns)) {
    endpoint->counters.dropped++;
    return;
  }
  struct quic_answer *answer = answer_begin(endpoint, path);
  if (answer == NULL)
    return;
  uint8_t unused;
  random_fill(&unused, sizeof unused);
  answer_done(endpoint, answer,
              ngtcp2_pkt_write_version_negotiation(answer->data, sizeof answer->data, unused, got->scid, got->scidlen,
                                                   got->dcid, got->dcidlen, versions,
                                                   sizeof versions / sizeof *versions),
              &endpoint->counters.versions_sent);
}

/* Always smaller than what provoked it, so that two endpoints cannot keep each other busy (RFC 9000 section 10.3.3).
   Only for IDs that this worker made: another one's connection may be alive. */
static void answer_reset(struct quic_endpoint *endpoint, const ngtcp2_path *path, const uint8_t *cid, size_t got_len,
                         uint64_t now_ns) {
  if (!endpoint->settings.server || got_len <= RESET_BYTES_MIN || !cid_is_of_worker(endpoint, cid) ||
      !rate_ok(&endpoint->resets, now_ns)) {
    endpoint->counters.dropped++;
    return;
  }
  struct quic_answer *answer = answer_begin(endpoint, path);
  ngtcp2_stateless_reset_token token;
  ngtcp2_cid id;
  ngtcp2_cid_init(&id, cid, QUIC_CID_BYTES);
  if (answer == NULL || !quic_reset_token(endpoint, &id, token.data))
    return;
  size_t len = got_len - 1 < RESET_BYTES_MAX ? got_len - 1 : RESET_BYTES_MAX;
  uint8_t noise[RESET_BYTES_MAX];
  random_fill(noise, sizeof noise);
  answer_done(endpoint, answer,
              ngtcp2_pkt_write_stateless_reset2(answer->data, len, &token, noise, len - sizeof token.data),
              &endpoint->counters.resets_sent);
}

static void answer_refusal(struct quic_endpoint *endpoint, const ngtcp2_path *path, const ngtcp2_pkt_hd *header,
                           uint64_t code, uint64_t *counter) {
  struct quic_answer *answer = answer_begin(endpoint, path);
  if (answer != NULL)
    answer_done(endpoint, answer,
                ngtcp2_crypto_write_connection_close(answer->data, sizeof answer->data, header->version, &header->scid,
                                                     &header->dcid, code, NULL, 0),
                counter);
}

static void answer_retry(struct quic_endpoint *endpoint, const ngtcp2_path *path, const ngtcp2_pkt_hd *header,
                         uint64_t now_ns) {
  const struct quic_settings *settings = &endpoint->settings;
  struct quic_answer *answer = answer_begin(endpoint, path);
  if (answer == NULL)
    return;
  ngtcp2_cid scid;
  quic_cid_make(endpoint, &scid);
  uint8_t token[NGTCP2_CRYPTO_MAX_RETRY_TOKENLEN2];
  ngtcp2_ssize token_len =
      ngtcp2_crypto_generate_retry_token2(token, settings->reset_key, sizeof settings->reset_key, header->version,
                                          path->remote.addr, path->remote.addrlen, &scid, &header->dcid, now_ns);
  answer_done(endpoint, answer,
              token_len < 0 ? -1
                            : ngtcp2_crypto_write_retry(answer->data, sizeof answer->data, header->version,
                                                        &header->scid, &scid, &header->dcid, token, (size_t)token_len),
              &endpoint->counters.retries_sent);
}

/* The front door */

enum token { TOKEN_NONE, TOKEN_GOOD, TOKEN_BAD };

/* Tokens that are not of our Retry, an earlier connection's for example, count as none (RFC 9000 section 8.1.3). */
static enum token read_token(const struct quic_endpoint *endpoint, const ngtcp2_path *path, const ngtcp2_pkt_hd *header,
                             ngtcp2_cid *original, uint64_t now_ns) {
  const struct quic_settings *settings = &endpoint->settings;
  if (header->tokenlen == 0 || header->token[0] != NGTCP2_CRYPTO_TOKEN_MAGIC_RETRY2)
    return TOKEN_NONE;
  int result = ngtcp2_crypto_verify_retry_token2(
      original, header->token, header->tokenlen, settings->reset_key, sizeof settings->reset_key, header->version,
      path->remote.addr, path->remote.addrlen, &header->dcid, RETRY_TOKEN_SECONDS * NS_PER_S, now_ns);
  if (result == 0)
    return TOKEN_GOOD;
  return result == NGTCP2_CRYPTO_ERR_UNREADABLE_TOKEN ? TOKEN_NONE : TOKEN_BAD;
}

static void accept_conn(struct quic_endpoint *endpoint, const ngtcp2_path *path, const struct address *local,
                        const struct address *remote, const struct quic_accept *accept, const uint8_t *data, size_t len,
                        uint64_t now_ns) {
  struct quic_conn *conn = quic_conn_new(endpoint, local, remote, NULL, accept, now_ns);
  if (conn == NULL) {
    endpoint->counters.refused++;
    return;
  }
  int result = quic_conn_receive(conn, path, data, len, now_ns);
  if (result == 0)
    return;
  quic_free(conn);
  if (result == NGTCP2_ERR_RETRY)
    answer_retry(endpoint, path, accept->header, now_ns);
  else
    endpoint->counters.dropped++;
}

static void front_door(struct quic_endpoint *endpoint, const struct address *local, const struct address *remote,
                       const uint8_t *data, size_t len, uint64_t now_ns) {
  const struct quic_settings *settings = &endpoint->settings;
  ngtcp2_path path = quic_path(local, remote);
  ngtcp2_pkt_hd header;
  ngtcp2_cid original;
  if (!settings->server || ngtcp2_accept(&header, data, len) != 0) {
    endpoint->counters.dropped++;
    return;
  }
  enum token token = read_token(endpoint, &path, &header, &original, now_ns);
  if (token == TOKEN_BAD) {
    answer_refusal(endpoint, &path, &header, QUIC_ERROR_INVALID_TOKEN, &endpoint->counters.invalid_tokens);
  } else if (!endpoint->accepting || endpoint->conns.live == settings->connections_max) {
    answer_refusal(endpoint, &path, &header, QUIC_ERROR_CONNECTION_REFUSED, &endpoint->counters.refused);
  } else if (endpoint->half_open >= settings->handshakes_max) {
    endpoint->counters.refused++; /* not a word: the client tries again */
  } else if (token == TOKEN_NONE && endpoint->half_open >= settings->handshakes_max / 4) {
    answer_retry(endpoint, &path, &header, now_ns);
  } else if (token == TOKEN_NONE && header.dcid.datalen < NGTCP2_MIN_INITIAL_DCIDLEN) {
    endpoint->counters.dropped++;
  } else {
    struct quic_accept accept = {.header = &header, .original = token == TOKEN_GOOD ? &original : NULL};
    accept_conn(endpoint, &path, local, remote, &accept, data, len, now_ns);
  }
}

static bool peer_is(const struct quic_conn *conn, const struct address *remote) {
  const ngtcp2_addr *peer = &ngtcp2_conn_get_path2(conn->ngtcp2)->remote;
  return peer->addrlen == remote->len && memcmp(peer->addr, remote->bytes, remote->len) == 0;
}

/* A stateless reset looks like a packet for an unknown connection: whoever has that peer is asked. True when somebody
   has: that address then gets no reset of ours beside what its connection sends it, which would be more than the
   anti-amplification limit of a path that is not validated yet (RFC 9000 section 8). */
static bool taken_by_peer(struct quic_endpoint *endpoint, const struct address *local, const struct address *remote,
                          const uint8_t *data, size_t len, uint64_t now_ns) {
  ngtcp2_path path = quic_path(local, remote);
  bool taken = false;
  if (len < RESET_BYTES_MIN)
    return false;
  for (struct list *node = endpoint->all.next; node != &endpoint->all; node = node->next) {
    struct quic_conn *conn = container_of(node, struct quic_conn, all);
    if (conn->state != QUIC_OPEN || !peer_is(conn, remote))
      continue;
    taken = true;
    (void)quic_conn_receive(conn, &path, data, len, now_ns);
    if (conn->state != QUIC_OPEN)
      break;
  }
  return taken;
}

void quic_receive(struct quic_endpoint *endpoint, const struct address *local, const struct address *remote,
                  const uint8_t *data, size_t len, uint64_t now_ns) {
  ngtcp2_path path = quic_path(local, remote);
  ngtcp2_version_cid got;
  int result = len > 0 ? ngtcp2_pkt_decode_version_cid(&got, data, len, QUIC_CID_BYTES) : NGTCP2_ERR_INVALID_ARGUMENT;
  if (result == NGTCP2_ERR_VERSION_NEGOTIATION) {
    answer_version(endpoint, &path, &got, now_ns);
    return;
  }
  if (result != 0) {
    endpoint->counters.dropped++;
    return;
  }
  struct quic_conn *conn = got.dcidlen <= NGTCP2_MAX_CIDLEN ? route(endpoint, got.dcid, got.dcidlen) : NULL;
  if (conn != NULL)
    (void)quic_conn_receive(conn, &path, data, len, now_ns);
  else if ((data[0] & 0x80) != 0)
    front_door(endpoint, local, remote, data, len, now_ns);
  else if (!taken_by_peer(endpoint, local, remote, data, len, now_ns))
    answer_reset(endpoint, &path, got.dcid, len, now_ns);
}
