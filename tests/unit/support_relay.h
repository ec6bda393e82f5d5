/* Two workers in one thread, as far as a relay needs them: two proxies, a mailbox each way, and at both sides ends of
   exchanges that do what a test says. An end moves only what it has a reason to move: it begins by itself, and stops at
   a flow that is full or empty until it is woken; a wake-up that is missing is a test that does not end. */
#ifndef PTP_TESTS_UNIT_SUPPORT_RELAY_H
#define PTP_TESTS_UNIT_SUPPORT_RELAY_H

#include "proxy/exchange.h"
#include "run/relay.h"
#include "unit/support.h"

enum { SITES = 2, TALKS_MAX = 8, ALL = 1 << 30 };

/* One worker. */
struct site {
  struct proxy proxy;
  struct metrics figures;
  struct relays relays;
  struct mailbox *out; /* to the other one */
};

/* One request with its response, and what both of its ends know. */
struct talk {
  unsigned from; /* the site where it came in */
  bool used;
  /* the plan */
  uint64_t req_len, resp_len;
  bool req_trailers, resp_trailers;
  bool holds; /* a cancelled far end lets go only when the test says so */
  /* near end */
  struct exchange *near; /* NULL: it has let go */
  bool near_may_send, near_may_read;
  uint64_t req_sent, resp_got, resp_released;
  unsigned informed; /* the number of the last informational response that came, and one */
  uint16_t status;   /* of the head that came; 0: none */
  uint8_t end;       /* enum flow_end of the response, when it was reached */
  uint8_t reason;    /* enum err, then */
  /* far end */
  struct exchange *far; /* NULL: not yet, or it has let go */
  bool came, begun, far_may_send, far_may_read, cancelled;
  bool req_complete; /* all of the request has come */
  uint64_t req_got, req_released, resp_sent;
  unsigned informs; /* informational responses that went */
};

extern struct site sites[SITES];
extern struct talk talks[TALKS_MAX];
extern uint64_t relay_random; /* for draw() */

/* |capacity|: of the mailboxes; |exchanges|: of each site; |chunks|: of each size and site. */
void sites_open(uint32_t capacity, uint32_t exchanges, uint32_t chunks);
/* Everything must be over: checks all pools. */
void sites_close(void);
bool sites_idle(void);
/* One tick: reads at most |mails|, moves the exchanges, tells. */
void site_tick(unsigned site, uint32_t mails);
/* Some ticks of both, enough for everything that can happen without the ends. */
void sites_settle(void);

/* A request that comes in at |from|. The plan is in |plan|; NULL when there is no exchange for it. */
struct talk *talk_open(unsigned from, const struct talk *plan);
bool talk_over(const struct talk *talk);

/* Each does up to |max| bytes of it, and returns their number. */
uint64_t near_send(struct talk *talk, uint64_t max);
uint64_t near_read(struct talk *talk, uint64_t max);
void near_release(struct talk *talk, uint64_t max);
void near_done(struct talk *talk);

void far_begin(struct talk *talk);
bool far_inform(struct talk *talk); /* false: no slot */
void far_head(struct talk *talk);
uint64_t far_send(struct talk *talk, uint64_t max);
uint64_t far_read(struct talk *talk, uint64_t max);
void far_release(struct talk *talk, uint64_t max);
void far_stop(struct talk *talk);
void far_done(struct talk *talk);

#endif
