/* The functions of quic.h that h3 calls, without QUIC: bytes come from the fuzz target, or from the other end of a
   pair. Nothing is lost or late, flow control never blocks, and what is sent is acknowledged at once: those are the
   subject of unit/h3_rig.h, which is stricter and slower. */
#ifndef PTP_TESTS_FUZZ_FAKE_QUIC_H
#define PTP_TESTS_FUZZ_FAKE_QUIC_H

#include "proto/quic.h"

enum { FAKE_STREAMS = 16 };

struct fake_stream {
  bool used, closed;
  bool fin_sent, reset_sent, reset_told; /* our part */
  bool fin_received, reset_received, stop_sent, stop_told;
  uint64_t reset_code, stop_code;
  uint64_t received, credited;
};

struct quic_conn {
  const struct quic_app *ops;
  void *app;
  struct quic_conn *peer; /* gets what is sent; NULL: nobody does */
  bool server;
  bool inside; /* a callback that may not call back */
  bool dead;   /* the application has found a connection error */
  int64_t next_bidi, next_uni;
  uint64_t received, credited;
  struct fake_stream streams[4][FAKE_STREAMS]; /* by the low bits of the id */
};

void fake_open(struct quic_conn *conn, bool server, struct quic_conn *peer);
/* From the peer. What cannot come, after an end or on a stream that is ours to open, is ignored. */
void fake_deliver(struct quic_conn *conn, int64_t id, const void *data, size_t len, bool fin);
void fake_deliver_reset(struct quic_conn *conn, int64_t id, uint64_t code);
void fake_deliver_stop(struct quic_conn *conn, int64_t id, uint64_t code);
/* Sends all that the application has to send now; true when there was any. */
bool fake_emit(struct quic_conn *conn);
/* Tells the peer of resets and stops, and the application of streams that are over. */
void fake_settle(struct quic_conn *conn);

#endif
