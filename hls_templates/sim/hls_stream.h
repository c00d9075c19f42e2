// hls::stream for simulation without a vendor tool: FIFOs that hold what their depth says, and processes that run
// as fibers in a fixed order. A read from an empty or a write to a full FIFO hands over to the next process; when
// none can go on, the run ends with DEADLOCK_EXIT and names the FIFOs. Never part of synthesis.
#ifndef HYPERSONIC_SIM_HLS_STREAM_H
#define HYPERSONIC_SIM_HLS_STREAM_H

#ifdef __SYNTHESIS__
#error "tb/sim is for simulation only: synthesis must find the vendor's hls_stream.h"
#endif

#define HYPERSONIC_SIM 1

#include <sys/mman.h>
#include <ucontext.h>

#include <cstddef>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <deque>
#include <string>
#include <vector>

namespace hypersonic_sim {

enum { FILE_EXIT = 65, DEADLOCK_EXIT = 66 };

// What a process may wait for: a ring of beats as bytes, so that one piece of code serves every type of beat.
class fifo {
public:
    fifo(const char *name, size_t depth, size_t beat_bytes)
        : name_(name), depth_(depth), beat_bytes_(beat_bytes), room_(depth == 0 ? 16 : depth), first_(0), count_(0) {
        ring_ = static_cast<unsigned char *>(malloc(room_ * beat_bytes_));
        check();
    }
    ~fifo() { free(ring_); }
    size_t size() const { return count_; }
    bool empty() const { return count_ == 0; }
    bool full() const { return depth_ != 0 && count_ == depth_; }
    const std::string &name() const { return name_; }
    size_t depth() const { return depth_; }

protected:
    // Both wait until they can.
    void take(void *beat);
    void put(const void *beat);

private:
    fifo(const fifo &);
    fifo &operator=(const fifo &);

    void check() const {
        if (ring_ == NULL) {
            fprintf(stderr, "%s: no memory\n", name_.c_str());
            exit(FILE_EXIT);
        }
    }

    void grow() {
        unsigned char *wider = static_cast<unsigned char *>(malloc(2 * room_ * beat_bytes_));
        for (size_t i = 0; wider != NULL && i < count_; i++)
            memcpy(wider + i * beat_bytes_, at(i), beat_bytes_);
        free(ring_);
        ring_ = wider;
        check();
        room_ *= 2;
        first_ = 0;
    }

    unsigned char *at(size_t i) const { return ring_ + (first_ + i) % room_ * beat_bytes_; }

    std::string name_;
    size_t depth_; // 0: as much as needed
    size_t beat_bytes_;
    size_t room_;
    size_t first_;
    size_t count_;
    unsigned char *ring_;
};

class scheduler {
public:
    static scheduler &get() {
        static scheduler one;
        return one;
    }

    template <class Body> void spawn(const Body &body) { tasks_.push_back(task(&call<Body>, new Body(body))); }

    // Runs the processes until all have returned.
    void run() {
        for (size_t i = 0; i < tasks_.size(); i++)
            start(i);
        size_t left = tasks_.size();
        while (left > 0) {
            bool moved = false;
            for (size_t i = 0; i < tasks_.size(); i++) {
                task &t = tasks_[i];
                if (t.done || !ready(t))
                    continue;
                moved = true;
                current_ = &t;
                swapcontext(&caller_, &t.context);
                current_ = NULL;
                if (t.done)
                    left--;
            }
            if (!moved)
                deadlock();
        }
        tasks_.clear();
    }

    void wait_readable(const fifo &f) { wait(f, false); }
    void wait_writable(const fifo &f) { wait(f, true); }

private:
    struct task {
        task(void (*c)(void *), void *b) : call(c), body(b), waiting(NULL), writing(false), done(false) {}
        void (*call)(void *);
        void *body;
        ucontext_t context;
        const fifo *waiting;
        bool writing;
        bool done;
    };

    scheduler() : current_(NULL) {}

    template <class Body> static void call(void *body) {
        Body *b = static_cast<Body *>(body);
        (*b)();
        delete b;
    }

    static bool ready(const task &t) {
        if (t.waiting == NULL)
            return true;
        return t.writing ? !t.waiting->full() : !t.waiting->empty();
    }

    void wait(const fifo &f, bool writing) {
        if (current_ == NULL) {
            fprintf(stderr, "%s: %s outside a process\n", f.name().c_str(), writing ? "full" : "empty");
            exit(DEADLOCK_EXIT);
        }
        task &t = *current_;
        t.waiting = &f;
        t.writing = writing;
        swapcontext(&t.context, &caller_);
        t.waiting = NULL;
    }

    // Stacks are kept for the next run; the system only backs the pages that are used.
    void start(size_t i) {
        const size_t bytes = size_t(256) << 20;
        if (i >= stacks_.size()) {
            void *p = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
            if (p == MAP_FAILED) {
                perror("mmap of a process stack");
                exit(FILE_EXIT);
            }
            stacks_.push_back(p);
        }
        task &t = tasks_[i];
        getcontext(&t.context);
        t.context.uc_stack.ss_sp = stacks_[i];
        t.context.uc_stack.ss_size = bytes;
        t.context.uc_link = &caller_;
        makecontext(&t.context, &scheduler::enter, 0);
    }

    static void enter() {
        task &t = *get().current_;
        t.call(t.body);
        t.done = true;
    }

    void deadlock() {
        fprintf(stderr, "DEADLOCK\n");
        for (size_t i = 0; i < tasks_.size(); i++) {
            const task &t = tasks_[i];
            if (t.done)
                continue;
            fprintf(stderr, "process %lu waits for %s FIFO %s (depth %lu)\n", (unsigned long)i,
                    t.writing ? "full" : "empty", t.waiting->name().c_str(), (unsigned long)t.waiting->depth());
        }
        exit(DEADLOCK_EXIT);
    }

    std::deque<task> tasks_;
    std::vector<void *> stacks_;
    task *current_;
    ucontext_t caller_;
};

inline void fifo::take(void *beat) {
    while (empty())
        scheduler::get().wait_readable(*this);
    memcpy(beat, at(0), beat_bytes_);
    first_ = (first_ + 1) % room_;
    count_--;
}

inline void fifo::put(const void *beat) {
    while (full())
        scheduler::get().wait_writable(*this);
    if (count_ == room_)
        grow();
    memcpy(at(count_), beat, beat_bytes_);
    count_++;
}

} // namespace hypersonic_sim

namespace hls {

template <class T, int Depth = 0> class stream;

template <class T> class stream<T, 0> : public hypersonic_sim::fifo {
public:
    explicit stream(const char *name = "unnamed", size_t depth = 0) : fifo(name, depth, sizeof(T)) {}

    T read() {
        T value;
        take(&value);
        return value;
    }
    void write(const T &value) { put(&value); }
};

template <class T, int Depth> class stream : public stream<T, 0> {
public:
    explicit stream(const char *name = "unnamed") : stream<T, 0>(name, Depth) {}
};

} // namespace hls

#endif
