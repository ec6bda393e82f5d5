/* What the files of quic.h share. A connection is only ever touched between a public call and its return: ngtcp2's
   callbacks record into it, and the public function that made them act settles what they left. */
#ifndef PTP_PROTO_QUIC_PRIV_H
#define PTP_PROTO_QUIC_PRIV_H

#include <ngtcp2/ngtcp2.h>
#include <ngtcp2/ngtcp2_crypto.h>
#include <ngtcp2/private/ngtcp2_cc.h>

#include "base/arena.h"
#include "base/pool.h"
#include "proto/quic.h"

enum {
  QUIC_CIDS_MAX = 16, /* of a connection: 8 that ngtcp2 issues, some that are being retired, the client's first */
  QUIC_CLOSE_BYTES_MAX = 1200,
  QUIC_PHRASE_MAX = 128,
  QUIC_ANSWERS_MAX = 64,
  QUIC_ANSWER_BYTES_MAX = 600, /* version negotiation echoes two connection IDs of up to 255 bytes */
};

enum {
  QUIC_ERROR_CONNECTION_REFUSED = 0x02, /* RFC 9000 section 20.1 */
  QUIC_ERROR_INVALID_TOKEN = 0x0b,
  H3_CODE_NO_ERROR = 0x100, /* RFC 9114 section 8.1 */
};

/* One connection ID under which datagrams find their connection. */
struct quic_route {
  struct quic_route *next;
  struct quic_conn *conn; /* NULL: the slot is free */
  ngtcp2_cid cid;
};

/* How far QUIC_CLOSING is. */
enum quic_closing {
  CLOSING_UNSENT, /* CONNECTION_CLOSE is to be written */
  CLOSING_QUIET,  /* it was sent; its bytes are kept */
  CLOSING_REPEAT, /* ... and are to be sent again */
  CLOSING_DRAINS, /* the peer closed, or forgot the connection: nothing is sent */
};

enum quic_end { END_NONE, END_ORDERLY, END_FAILED, END_REFUSED, END_SILENT };

/* The search for the largest packet that the path carries. */
enum quic_mtu_search {
  MTU_SEARCHED, /* it goes on, or is over */
  MTU_FALLEN,   /* large packets are lost: small ones until one comes through */
  MTU_DUE,      /* one did */
};

/* What a path has done to the connection: quic_path.c. */
struct quic_path_state {
  uint8_t mtu_search;       /* enum quic_mtu_search */
  uint32_t large_lost;      /* packets above the base size, none of which was acknowledged since */
  uint32_t data_lost;       /* the same of packets that are not small */
  uint32_t probes;          /* timeouts one after the other */
  uint64_t mtu_searched_ns; /* when mtu_search last changed */
  uint64_t stuck_ns;        /* since when there are probes or data_lost; 0: there are none */
};

/* What waits for company, or may not: quic_hold.c. */
struct quic_hold_state {
  bool writing; /* until ngtcp2 has nothing more for now */
  bool urgent;  /* something to send that waits for nothing else */
  bool queued;  /* after the last write: ngtcp2 has something to send again that could not be sent */
  bool idle;    /* there is no data to send, and little came in */
  uint32_t owed_packets, owed_bytes; /* received, and credit given, since the last write */
  uint64_t until_ns;                 /* 0: nothing is held back */
  uint64_t lost_packets;             /* as of the last write */
};

/* What is sent a second time: quic_repeat.c. */
struct quic_repeat_state {
  bool copies;       /* in ngtcp2's queues */
  bool blocked;      /* a stream was, by flow control, after new data was last sent */
  int64_t done;      /* up to this number no packet is to be copied any more */
  uint64_t fresh_ns; /* when new data was last sent */
  uint64_t due_ns;   /* as of the last pass of writing; UINT64_MAX: not before something happens */
  uint64_t packets;  /* copies sent */
};

struct quic_conn {
  struct list ready; /* in endpoint->ready, or in no list */
  struct list all;
  struct quic_endpoint *endpoint;
  ngtcp2_conn *ngtcp2;
  ngtcp2_crypto_conn_ref ref; /* how the TLS helper finds ngtcp2 */
  struct tls_session *tls;
  const struct quic_app *ops;
  void *app; /* NULL until `opened` */
  void *owner;
  uint8_t state;   /* enum quic_state */
  uint8_t closing; /* enum quic_closing, in QUIC_CLOSING */
  uint8_t end;     /* enum quic_end */
  bool confirmed;
  ngtcp2_ccerr error; /* recorded by a callback or by a public call: what CONNECTION_CLOSE is to say */
  uint64_t closed_ns; /* when QUIC_CLOSING ends */
  struct quic_path_state path;
  struct quic_hold_state hold;
  struct quic_repeat_state repeat;
  uint64_t peer_streams, closed_streams; /* the peer has opened; are over and not yet given back to it */
  uint64_t peer_streams_max;             /* the peer may open */
  uint32_t close_received, close_answered;
  char name[QUIC_NAME_MAX];
  char reason[QUIC_REASON_MAX];
  char phrase[QUIC_PHRASE_MAX];
  struct quic_route routes[QUIC_CIDS_MAX];
  struct quic_train close_train;
  uint8_t close_packet[QUIC_CLOSE_BYTES_MAX];
};

/* An answer to a datagram without a connection, waiting for quic_endpoint_emit. */
struct quic_answer {
  struct address local, remote;
  size_t len;
  uint8_t data[QUIC_ANSWER_BYTES_MAX];
};

struct quic_rate { /* a bucket; all zeros and full at first */
  uint32_t used;
  uint64_t refilled_ns;
};

struct quic_endpoint {
  struct quic_settings settings;
  const struct quic_events *events;
  void *context;
  bool accepting;
  struct pool conns;
  struct list all, ready;
  struct quic_route **buckets;
  uint32_t bucket_mask;
  uint64_t hash_key[2];
  uint32_t half_open; /* connections that were never opened, closing ones included */
  uint32_t answer_first, answer_count;
  struct quic_answer answers[QUIC_ANSWERS_MAX];
  struct quic_rate resets, versions;
  struct quic_endpoint_counters counters;
  struct arena arena; /* what ngtcp2, and nghttp3 on top of it, keep */
  ngtcp2_mem memory;  /* ngtcp2's view of it */
};

/* quic.c */
bool quic_route_add(struct quic_conn *conn, const ngtcp2_cid *cid);
void quic_route_remove(struct quic_conn *conn, const ngtcp2_cid *cid);
/* A new connection ID of this endpoint. */
void quic_cid_make(const struct quic_endpoint *endpoint, ngtcp2_cid *cid);
/* The stateless reset token that goes with |cid|; false when wolfSSL fails. */
bool quic_reset_token(const struct quic_endpoint *endpoint, const ngtcp2_cid *cid, uint8_t *token);

/* quic_new.c */
struct quic_accept { /* what the front door found out about a client's first datagram */
  const ngtcp2_pkt_hd *header;
  const ngtcp2_cid *original; /* from the Retry token; NULL: there was no Retry */
};
/* A connection in QUIC_HANDSHAKE, routed. |accept|: of a server. NULL: a bound was reached, or out of memory. */
struct quic_conn *quic_conn_new(struct quic_endpoint *endpoint, const struct address *local,
                                const struct address *remote, const char *server_name, const struct quic_accept *accept,
                                uint64_t now_ns);
ngtcp2_path quic_path(const struct address *local, const struct address *remote);

/* quic_conn.c */
void quic_mark_ready(struct quic_conn *conn);
/* What the application has to send next; |*stream| is -1 when there is nothing. */
size_t quic_next_output(struct quic_conn *conn, int64_t *stream, bool *fin, struct iovec vecs[QUIC_OUTPUT_VECS]);
/* One datagram for |conn|. ngtcp2's result, 0 when there is nothing for the front door to do: a server's first datagram
   may ask for NGTCP2_ERR_RETRY or NGTCP2_ERR_DROP_CONN. */
int quic_conn_receive(struct quic_conn *conn, const ngtcp2_path *path, const uint8_t *data, size_t len,
                      uint64_t now_ns);

/* quic_hold.c */
enum { QUIC_HELD_NS = 800000 }; /* how long something is held back at most */
/* True when nothing has to be written now: what there is goes with the next data, or at quic_expiry. */
bool quic_hold(struct quic_conn *conn, uint64_t now_ns);
/* Everything was written that may be now. */
void quic_hold_over(struct quic_conn *conn);
/* The peer's |stream| has come up; one of its bidirectional streams is over. */
void quic_stream_seen(struct quic_conn *conn, int64_t stream);
void quic_stream_gone(struct quic_conn *conn);

/* quic_repeat.c */
/* Before a train of |bytes| is written: queues copies for it when it is time, conn->repeat.copies tells. False: out of
   memory. */
bool quic_repeat(struct quic_conn *conn, uint64_t bytes, uint64_t now_ns);
/* A packet was written behind number |before|, with new data or without. */
void quic_repeat_written(struct quic_conn *conn, bool fresh, int64_t before, uint64_t now_ns);
/* Nothing more is written now. */
void quic_repeat_over(struct quic_conn *conn, uint64_t now_ns);

/* quic_cb.c */
extern const ngtcp2_callbacks quic_callbacks_client, quic_callbacks_server;
/* The application gave up: records its code. Returns NGTCP2_ERR_CALLBACK_FAILURE. */
int quic_app_failed(struct quic_conn *conn);

/* quic_text.c: reasons in words, into conn->reason, and conn->end with it. The first one stays. */
void quic_say(struct quic_conn *conn, enum quic_end end, const char *format, ...) __attribute__((format(printf, 3, 4)));
/* Of |error|, which is sent (|by_peer| false) or was received. */
void quic_say_error(struct quic_conn *conn, const ngtcp2_ccerr *error, bool by_peer);

/* quic_cc.c: ngtcp2 asks for initial windows without telling for which connection, so it is told before every call
   that may create a connection or change its path; nor for which one a packet was acknowledged or lost. */
void quic_cc_use(struct quic_conn *conn);
/* The connection that was told; NULL: none. */
struct quic_conn *quic_current(void);

/* quic_path.c */
/* ngtcp2_conn_handle_expiry, for timers. */
int quic_path_expire(struct quic_conn *conn, uint64_t now_ns);
/* After a packet was read, or a timer was due. NULL, or why the connection must end. */
const char *quic_path_follow(struct quic_conn *conn, uint64_t now_ns);
/* From the congestion controllers. */
void quic_path_acked(const ngtcp2_cc_pkt *packet);
void quic_path_lost(const ngtcp2_cc_pkt *packet);

#endif
