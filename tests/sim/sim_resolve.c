/* Names: literals are themselves, "nowhere" does not exist, every other name is the address of the server's host. All
   are answered at the next dispatch. */
#include <arpa/inet.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/must.h"
#include "io/resolve.h"
#include "sim/sim_ring.h"
#include "sim/world.h"

struct resolver {
  struct ring *ring;
  struct list answers;
};

enum err resolver_open(struct resolver **out, struct ring *ring) {
  struct resolver *resolver = calloc(1, sizeof *resolver);
  if (resolver == NULL)
    return ERR_NO_MEMORY;
  resolver->ring = ring;
  list_init(&resolver->answers);
  *out = resolver;
  return ERR_OK;
}

void resolver_close(struct resolver *resolver) {
  if (resolver == NULL)
    return;
  while (list_pop(&resolver->answers) != NULL)
    continue;
  free(resolver);
}

static void answer(struct resolve_query *query) {
  char text[RESOLVE_HOST_MAX + 4];
  snprintf(text, sizeof text, strchr(query->host, ':') != NULL ? "[%s]" : "%s", query->host);
  if (strcmp(query->host, "nowhere") == 0) {
    snprintf(query->error, sizeof query->error, "Name or service not known");
    return;
  }
  if (address_parse(&query->results[0], text, query->port) != ERR_OK)
    must(address_parse(&query->results[0], "192.0.2.2", query->port) == ERR_OK);
  address_set_port(&query->results[0], query->port);
  query->count = 1;
}

void resolve(struct resolver *resolver, struct resolve_query *query) {
  must(query->done != NULL);
  query->count = 0;
  query->error[0] = '\0';
  list_init(&query->node);
  answer(query);
  list_push(&resolver->answers, &query->node);
  ring_wake(resolver->ring);
}

void resolver_dispatch(struct resolver *resolver) {
  struct list answered, *node;
  list_init(&answered);
  list_splice(&answered, &resolver->answers);
  while ((node = list_pop(&answered)) != NULL) {
    struct resolve_query *query = container_of(node, struct resolve_query, node);
    query->done(query);
  }
}
