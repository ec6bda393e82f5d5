/* What is going to happen, drawn from the seed before anything does: the link, the two configurations, and for every
   exchange what its client and the origin do. And what did happen to each, for the oracle. */
#ifndef PTP_TESTS_SIM_PLAN_H
#define PTP_TESTS_SIM_PLAN_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "sim/link.h"
#include "sim/message.h"
#include "sim/world.h"

enum { EXCHANGES = 500, CLIENTS_MAX = 48, CRASHES_MAX = 3 };

enum client_manner {
  CLIENT_PLAIN,
  CLIENT_SLOW_READER,
  CLIENT_SLOW_WRITER,
  CLIENT_CUTS_REQUEST,  /* closes in the middle of the request's body */
  CLIENT_CUTS_RESPONSE, /* resets in the middle of the response */
  CLIENT_STALLS,        /* stops in the middle of the request's body, and waits */
  CLIENT_HALF_CLOSES,   /* FIN behind the request */
  CLIENT_PAUSES,        /* reads nothing for some seconds in the middle of the response; only in exact.c */
  CLIENT_EXPECTS,       /* waits for 100 Continue, or a second, before it sends the body */
  CLIENT_MANNERS
};

enum origin_manner {
  ORIGIN_PLAIN,
  ORIGIN_SLOW,        /* waits before it answers */
  ORIGIN_TRICKLES,    /* sends a little at a time */
  ORIGIN_INFORMS,     /* 103 first */
  ORIGIN_EARLY,       /* answers before it reads the body, and then reads it */
  ORIGIN_EARLY_CLOSE, /* answers before it reads the body, and closes */
  ORIGIN_SAYS_CLOSE,  /* Connection: close */
  ORIGIN_IDLE_CLOSE,  /* closes the connection behind the response without saying so */
  ORIGIN_CLOSES,      /* FIN instead of an answer */
  ORIGIN_RESETS,      /* RST instead of an answer */
  ORIGIN_CUTS_BODY,   /* FIN in the middle of the response's body */
  ORIGIN_RESETS_BODY, /* RST there */
  ORIGIN_NEVER,       /* reads, and does not answer */
  ORIGIN_GARBAGE,     /* what is no HTTP */
  ORIGIN_MANNERS
};

enum outcome {
  OUTCOME_NONE,     /* not over */
  OUTCOME_RESPONSE, /* a complete response came */
  OUTCOME_CUT,      /* the connection ended within the response, or before it */
  OUTCOME_LEFT,     /* the client gave up */
};

struct plan {
  uint32_t id;
  const char *method;
  bool http10, trailers, informed;
  uint8_t client, origin; /* enum client_manner, enum origin_manner */
  uint8_t up_framing, down_framing;
  int status;
  uint32_t up_pad, down_pad; /* bytes of an additional field */
  uint64_t up_bytes, down_bytes;
  uint64_t up_stop, down_stop; /* where the one who gives up does so */
  uint64_t think_ns;           /* before the client sends it */
  uint64_t answer_ns;          /* before the origin answers */

  /* what happened */
  uint8_t outcome; /* enum outcome */
  bool by_proxy;   /* the response is the proxy's own */
  bool unanswered; /* not a byte of a response came: of a cut */
  bool reused;     /* sent on a connection that had carried others */
  int got_status;
  uint32_t attempts;
  uint32_t origin_requests;    /* heads that reached the origin */
  uint32_t origin_bodies;      /* of them with a complete, right body */
  uint32_t origin_responses;   /* responses that the origin completed */
  uint64_t origin_ns;          /* when the last of the heads reached it */
  uint64_t began_ns, ended_ns; /* the last attempt */
};

struct scenario {
  uint64_t seed;
  char name[80];
  char events[120]; /* in words */
  struct link_profile link;
  bool faults; /* a session may be lost */
  const char *congestion;
  uint64_t initial_window, initial_rtt_ms, stream_window, streams, mtu, qpack;
  uint64_t receive_window, send_window; /* 0: the default */
  bool redundancy;                      /* of both ends */
  uint64_t idle_timeout_ms, keep_alive_ms, connect_interval_ms, origin_response_ms, request_body_ms;
  uint64_t wake_ns;
  uint32_t clients;
  uint32_t pipeline;               /* requests without an answer at a time, when they are safe to repeat */
  uint32_t refuse_ppm, ignore_ppm; /* connections to the origin */
  uint64_t limit_ns;               /* by then everything is over */
  struct {
    uint64_t at_ns, down_ns;
    int host;
  } crashes[CRASHES_MAX]; /* a worker is gone without a word, and opened again */
  size_t crash_count;
  uint64_t drain_ns; /* one of the workers is drained with requests in flight; 0: after all of them */
  int drain_host;
  uint32_t shortage_ppm; /* of objects asked from pools that are not there */
  uint32_t exchanges;
  struct plan plans[EXCHANGES];
};

/* Draws all of it. */
void scenario_draw(struct scenario *scenario, uint64_t seed);
/* The two configurations as JSON; |directory| has the certificates. */
int scenario_config(const struct scenario *scenario, bool server, const char *directory, char *out, size_t size);

const char *client_manner_name(enum client_manner manner);
const char *origin_manner_name(enum origin_manner manner);
const char *outcome_name(enum outcome outcome);
bool plan_has_body(const struct plan *plan);
/* May be sent again, and is pipelined. */
bool plan_repeatable(const struct plan *plan);
bool plan_is(const struct plan *plan, const char *method);

#endif
