/* What h3.c, h3_out.c and h3_cb.c share; nobody else includes it. */
#ifndef PTP_PROTO_H3_PRIV_H
#define PTP_PROTO_H3_PRIV_H

#include <nghttp3/nghttp3.h>

#include "proto/h3.h"

enum { H3_BUCKETS = 1024, H3_BLOCKED_STREAMS_MAX = 100, H3_INCOMPLETE_MAX = 16, H3_DECODER_OWES_MAX = 32 };
#define H3_NO_CODE UINT64_MAX

/* What is expected next from the peer on a request stream. The order matters: from H3_IN_DISCARD on, nothing is. */
enum h3_in {
  H3_IN_START,   /* a field section */
  H3_IN_STATUS,  /* client: one has begun, :status will tell where it goes */
  H3_IN_HEAD,    /* fields of the head */
  H3_IN_INTERIM, /* fields of a 1xx head */
  H3_IN_SKIP,    /* fields of a 1xx head that has no place */
  H3_IN_BODY,    /* the head is complete: body, trailers, end */
  H3_IN_DISCARD, /* bytes that nobody wants: broken, cancelled */
  H3_IN_END,     /* complete, or reset by the peer */
};

enum h3_out {
  H3_OUT_IDLE,    /* no final head was submitted */
  H3_OUT_OPEN,    /* nghttp3 asks for the body */
  H3_OUT_WAITING, /* it asked when there was nothing: it must be told when there is */
  H3_OUT_DONE,    /* everything is with nghttp3, and FIN */
  H3_OUT_RESET,   /* reset, or the peer does not want it */
};

enum h3_life {
  H3_ALIVE,
  H3_FAILED,    /* nghttp3 found a connection error: it must not be called again */
  H3_ABANDONED, /* the QUIC connection is gone */
};

enum h3_goaway_sent { H3_GOAWAY_NONE, H3_GOAWAY_NOTICE, H3_GOAWAY_FINAL };

struct h3 {
  struct quic_conn *quic;
  nghttp3_conn *http;
  struct h3_settings settings;
  nghttp3_mem memory; /* nghttp3's view of settings.arena */
  const struct h3_events *events;
  void *context;
  struct list ready;   /* streams with events, by h3_stream.ready */
  struct list pending; /* streams with a reset or stop to send, by h3_stream.pending */
  struct list late;    /* streams that QUIC has closed before nghttp3 could decode their head, by h3_stream.pending */
  struct h3_stream *buckets[H3_BUCKETS];
  uint32_t stream_count;
  uint8_t life;        /* enum h3_life */
  uint8_t goaway_sent; /* enum h3_goaway_sent */
  bool peer_settings, peer_goaway;
  int fault;                         /* of nghttp3, when life is H3_FAILED */
  uint64_t peer_section_bytes_max;   /* SETTINGS_MAX_FIELD_SECTION_SIZE of the peer */
  int64_t control_id, decoder_id;    /* of our streams: the control stream, QPACK's decoder stream */
  uint32_t decoder_owes;             /* what nghttp3 may have put there since it was last let go */
  bool decoder_free;                 /* it is not held back */
  int64_t newest_id;                 /* server: the highest request stream seen */
  int64_t reject_first, reject_last; /* request streams in this range that are not in the table are to be rejected */
  int64_t incomplete[H3_INCOMPLETE_MAX]; /* request streams that ended before a request had begun */
  uint8_t incomplete_count;
};

/* h3.c */
struct h3_stream *h3_find(const struct h3 *h3, int64_t id);
/* A stream from the pool, which has no id yet; NULL: the pool is empty. */
struct h3_stream *h3_stream_get(struct h3 *h3);
/* Gives it its id and puts it into the table, and takes it out. */
void h3_stream_list(struct h3_stream *stream, int64_t id);
void h3_stream_unlist(struct h3_stream *stream);
void h3_raise(struct h3_stream *stream, unsigned events);
/* The peer's message is not acceptable: `in` is aborted, the peer will be asked to stop, our part stays as it is. */
void h3_break(struct h3_stream *stream, enum err error);
/* QUIC and nghttp3 are done with it. */
void h3_stream_over(struct h3_stream *stream);
/* Stream credit for the first |upto| bytes of the body, as far as it was not given. */
void h3_credit(struct h3_stream *stream, uint64_t upto);
/* To be sent by h3_carry_out. */
void h3_ask_stop(struct h3_stream *stream, uint64_t code);
void h3_ask_reset(struct h3_stream *stream, uint64_t code);
void h3_reject(struct h3 *h3, int64_t id);
/* The stream ended before a request had begun; one that was rejected before stays so. */
void h3_incomplete(struct h3 *h3, int64_t id);
/* Sends what the functions above have asked for, and closes streams of the late list. Not to be called from within
   quic_receive or quic_emit. */
void h3_carry_out(struct h3 *h3);
/* Remembers nghttp3's |fault|, a connection error, and returns the error for quic. Whoever has no caller to give it to
   may drop it: every later function of quic_app returns it again. */
enum err h3_fail(struct h3 *h3, int fault);

/* h3_cb.c */
extern const nghttp3_callbacks h3_callbacks;

#endif
