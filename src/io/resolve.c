/* getaddrinfo(3) may block for many seconds and cannot be cancelled: one thread asks, one question at a time. Questions
   and answers go through two lists under one mutex; an atomic flag spares the tick the mutex when there is no answer.

   The thread is started at the dispatch after the first question that needs it: by the worker's own thread, so that it
   may do no more than that one (run/privilege.h), and never for literals. */
#include "io/resolve.h"

#include <errno.h>
#include <netdb.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/must.h"

struct resolver {
  struct ring *ring;
  bool started, wanted; /* the thread; both are the worker's */
  pthread_t thread;
  pthread_mutex_t mutex;
  pthread_cond_t asked;
  bool closing;          /* under mutex, as are the lists */
  struct list questions; /* not yet begun */
  struct list answers;   /* done() not yet called */
  atomic_bool any_answer;
};

static struct resolve_query *query_of(struct list *node) { return container_of(node, struct resolve_query, node); }

static void explain(struct resolve_query *query, int result) {
  const char *why = result == EAI_SYSTEM ? strerror(errno) : gai_strerror(result);
  snprintf(query->error, sizeof query->error, "%s", why);
}

static void ask(struct resolve_query *query) {
  struct addrinfo hints = {
      .ai_family = AF_UNSPEC,
      .ai_socktype = query->datagram ? SOCK_DGRAM : SOCK_STREAM,
      .ai_flags = AI_ADDRCONFIG | AI_NUMERICSERV,
  };
  char service[8];
  snprintf(service, sizeof service, "%u", query->port);
  struct addrinfo *found = NULL;
  int result = getaddrinfo(query->host, service, &hints, &found);
  if (result != 0) {
    explain(query, result);
    return;
  }
  for (const struct addrinfo *at = found; at != NULL && query->count < RESOLVE_RESULTS_MAX; at = at->ai_next) {
    if (at->ai_family == AF_INET || at->ai_family == AF_INET6)
      address_set(&query->results[query->count++], at->ai_addr, at->ai_addrlen);
  }
  freeaddrinfo(found);
  if (query->count == 0)
    explain(query, EAI_NONAME);
}

static void answer(struct resolver *resolver, struct resolve_query *query) {
  list_push(&resolver->answers, &query->node);
  atomic_store_explicit(&resolver->any_answer, true, memory_order_release);
}

static void *resolver_run(void *context) {
  struct resolver *resolver = context;
  pthread_mutex_lock(&resolver->mutex);
  while (!resolver->closing) {
    struct list *node = list_pop(&resolver->questions);
    if (node == NULL) {
      pthread_cond_wait(&resolver->asked, &resolver->mutex);
      continue;
    }
    pthread_mutex_unlock(&resolver->mutex);
    ask(query_of(node));
    pthread_mutex_lock(&resolver->mutex);
    answer(resolver, query_of(node));
    ring_wake(resolver->ring);
  }
  pthread_mutex_unlock(&resolver->mutex);
  return NULL;
}

/* Signals are for the main thread. */
static void start_thread(struct resolver *resolver) {
  sigset_t all, before;
  sigfillset(&all);
  pthread_sigmask(SIG_SETMASK, &all, &before);
  int result = pthread_create(&resolver->thread, NULL, resolver_run, resolver);
  pthread_sigmask(SIG_SETMASK, &before, NULL);
  resolver->wanted = false;
  resolver->started = result == 0;
  if (resolver->started)
    return;
  struct list *node;
  pthread_mutex_lock(&resolver->mutex);
  while ((node = list_pop(&resolver->questions)) != NULL) {
    snprintf(query_of(node)->error, sizeof query_of(node)->error, "cannot start a thread: %s", strerror(result));
    answer(resolver, query_of(node));
  }
  pthread_mutex_unlock(&resolver->mutex);
}

enum err resolver_open(struct resolver **out, struct ring *ring) {
  struct resolver *resolver = calloc(1, sizeof *resolver);
  if (resolver == NULL)
    return ERR_NO_MEMORY;
  resolver->ring = ring;
  list_init(&resolver->questions);
  list_init(&resolver->answers);
  atomic_init(&resolver->any_answer, false);
  must(pthread_mutex_init(&resolver->mutex, NULL) == 0);
  must(pthread_cond_init(&resolver->asked, NULL) == 0);
  *out = resolver;
  return ERR_OK;
}

void resolver_close(struct resolver *resolver) {
  if (resolver == NULL)
    return;
  pthread_mutex_lock(&resolver->mutex);
  resolver->closing = true;
  pthread_cond_signal(&resolver->asked);
  pthread_mutex_unlock(&resolver->mutex);
  if (resolver->started)
    must(pthread_join(resolver->thread, NULL) == 0);
  while (list_pop(&resolver->questions) != NULL || list_pop(&resolver->answers) != NULL)
    continue; /* so that no node of an owner leads here */
  pthread_cond_destroy(&resolver->asked);
  pthread_mutex_destroy(&resolver->mutex);
  free(resolver);
}

static bool answer_literal(struct resolve_query *query) {
  char bracketed[RESOLVE_HOST_MAX + 4];
  bool v6 = strchr(query->host, ':') != NULL;
  snprintf(bracketed, sizeof bracketed, "%s%s%s", v6 ? "[" : "", query->host, v6 ? "]" : "");
  struct address address;
  if (address_parse(&address, bracketed, query->port) != ERR_OK || address_family(&address) == AF_UNIX)
    return false;
  address_set_port(&address, query->port);
  query->results[0] = address;
  query->count = 1;
  return true;
}

void resolve(struct resolver *resolver, struct resolve_query *query) {
  must(query->done != NULL && memchr(query->host, '\0', sizeof query->host) != NULL);
  query->count = 0;
  query->error[0] = '\0';
  list_init(&query->node);
  bool literal = answer_literal(query);
  pthread_mutex_lock(&resolver->mutex);
  if (literal) {
    answer(resolver, query);
    ring_wake(resolver->ring); /* so that the next wait is short */
  } else {
    list_push(&resolver->questions, &query->node);
    pthread_cond_signal(&resolver->asked);
  }
  pthread_mutex_unlock(&resolver->mutex);
  if (!literal && !resolver->started) {
    resolver->wanted = true;
    ring_wake(resolver->ring);
  }
}

void resolver_dispatch(struct resolver *resolver) {
  if (resolver->wanted)
    start_thread(resolver);
  if (!atomic_load_explicit(&resolver->any_answer, memory_order_acquire))
    return;
  struct list answered, *node;
  list_init(&answered);
  pthread_mutex_lock(&resolver->mutex);
  list_splice(&answered, &resolver->answers);
  atomic_store_explicit(&resolver->any_answer, false, memory_order_relaxed);
  pthread_mutex_unlock(&resolver->mutex);
  while ((node = list_pop(&answered)) != NULL)
    query_of(node)->done(query_of(node));
}
