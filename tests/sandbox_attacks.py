"""Programs that attack the sandbox. Each prints GOT when it has reached what it must not reach, or leaves a trace of it.

In them, `{home}` is a folder of the user's with a file `secret` in it, `{library}` a file that may be read, `{victim}` the number
of a process of the user's, `{clone}` the number of a system call; `{tcp}`, `{udp}` and `{unix}` are where the test listens.
"""

# What only isolation stops: with `isolated=False` these succeed, so that it is the sandbox that stops them.
FILES = {
    "read_a_file": "print('GOT', open('{home}/secret').read())",
    "read_passwd": "print('GOT', open('/etc/passwd').read())",
    "list_a_folder": "import os; print('GOT', os.listdir('{home}'))",
    "write_a_new_file": "open('{home}/new', 'w').write('x'); print('GOT')",
    "append_to_a_file": "open('{home}/secret', 'a').write('x'); print('GOT')",
    "write_to_tmp": "import tempfile; f = tempfile.NamedTemporaryFile(dir='/tmp'); f.write(b'x'); print('GOT')",
    "write_to_shared_memory": "import tempfile; f = tempfile.NamedTemporaryFile(dir='/dev/shm'); f.write(b'x'); print('GOT')",
    "empty_by_truncate": "import os; os.truncate('{home}/secret', 0); print('GOT')",
    "empty_by_opening_for_reading": "import os; os.open('{home}/secret', os.O_RDONLY | os.O_TRUNC); print('GOT')",
    "empty_a_readable_file": "import os; os.open('{library}', os.O_RDONLY | os.O_TRUNC); print('GOT')",
    "write_a_readable_file": "open('{library}', 'a').write('x'); print('GOT')",
    "remove_a_file": "import os; os.remove('{home}/secret'); print('GOT')",
    "take_a_file_in": "import os; os.rename('{home}/secret', 'mine'); print('GOT')",
    "put_a_file_out": "import os; open('mine', 'w').close(); os.rename('mine', '{home}/new'); print('GOT')",
    "change_the_mode": "import os; os.chmod('{home}/secret', 0o777); print('GOT')",
    "change_the_times": "import os; os.utime('{home}/secret', (0, 0)); print('GOT')",
    "read_through_a_symlink": "import os; os.symlink('{home}/secret', 'l'); print('GOT', open('l').read())",
    "read_through_a_hard_link": "import os; os.link('{home}/secret', 'l'); print('GOT', open('l').read())",
    "make_a_folder": "import os; os.mkdir('deep'); print('GOT')",
    "leave_the_folder": "import os; os.chdir('{home}'); print('GOT', open('secret').read())",
}

# The network of this machine stands for any other.
NETWORK = {
    "tcp": "import socket; socket.create_connection(('127.0.0.1', {tcp})).send(b'x'); print('GOT')",
    "udp": r"""
import socket; socket.socket(type=socket.SOCK_DGRAM).sendto(b'x', ('127.0.0.1', {udp})); print('GOT')
""",
    "unix": "import socket; socket.socket(socket.AF_UNIX).connect('{unix}'); print('GOT')",
    "socketpair": "import socket; socket.socketpair(); print('GOT')",
    "listen": "import socket; socket.create_server(('127.0.0.1', 0)); print('GOT')",
}

# Beyond the one process that a program has, and the calls that would undo its confinement.
PROCESSES = {
    "fork": r"""
import os
if not os.fork(): os._exit(0)
print('GOT')
""",
    "spawn": "import os; os.posix_spawn('/bin/true', ['true'], dict()); print('GOT')",
    "shell": "import os; print('GOT') if os.system('true') == 0 else None",
    "another_program": "import os; os.execv('/bin/echo', ['echo', 'GOT'])",
    "fork_by_number": r"""
import ctypes; libc = ctypes.CDLL(None, use_errno=True)
p = libc.syscall({clone}, 17, 0, 0, 0, 0)
if p == 0: libc._exit(0)
if p > 0: print('GOT')
""",
    "fork_as_32_bits": r"""
import ctypes, mmap, os; code = mmap.mmap(-1, 4096, prot=7); code.write(bytes.fromhex('b802000000cd80c3'))
p = ctypes.CFUNCTYPE(ctypes.c_int)(ctypes.addressof(ctypes.c_char.from_buffer(code)))()
if p == 0: os._exit(0)
if p > 0: print('GOT')
""",
    "signal_a_process": "import os; os.kill({victim}, 10); print('GOT')",
    "signal_through_a_pipe": r"""
import fcntl, os; r, w = os.pipe(); fcntl.fcntl(r, fcntl.F_SETOWN, {victim}); fcntl.fcntl(r, fcntl.F_SETSIG, 10)
fcntl.fcntl(r, fcntl.F_SETFL, os.O_ASYNC); os.write(w, b'x'); print('GOT')
""",
    "limit_a_process": "import resource as r; r.prlimit({victim}, r.RLIMIT_NOFILE, (5, 5)); print('GOT')",
    "slow_a_process": "import os; os.setpriority(os.PRIO_PROCESS, {victim}, 19); print('GOT')",
    "read_the_parents_memory": "import os; open(f'/proc/{{os.getppid()}}/mem', 'rb'); print('GOT')",
    "read_the_parents_environment": "import os; print('GOT', open(f'/proc/{{os.getppid()}}/environ').read())",
    "attach_to_a_process": r"""
import ctypes; libc = ctypes.CDLL(None, use_errno=True)
print('GOT' if libc.ptrace(0x4206, {victim}, 0, 0) == 0 else '')
""",
    "leave_shared_memory": r"""
import ctypes; libc = ctypes.CDLL(None, use_errno=True)
i = libc.shmget(0, 4096, 0o1600)
if i >= 0: libc.shmctl(i, 0, None); print('GOT')
""",
    "a_file_in_memory": "import os; os.memfd_create('m'); print('GOT')",
    "new_namespace": r"""
import ctypes; libc = ctypes.CDLL(None, use_errno=True)
print('GOT' if libc.unshare(0x10000000) == 0 else '')
""",
    "raise_a_limit": "import resource as r; r.setrlimit(r.RLIMIT_NOFILE, (16, 16)); print('GOT')",
    "outlive_the_parent": r"""
import ctypes; libc = ctypes.CDLL(None, use_errno=True)
print('GOT' if libc.prctl(1, 0, 0, 0, 0) == 0 else '')
""",
    "io_uring": r"""
import ctypes; libc = ctypes.CDLL(None, use_errno=True)
p = (ctypes.c_char * 256)(); print('GOT' if libc.syscall(425, 2, p) >= 0 else '')
""",
}

# What limits stop, by the ending that each must have.
LIMITS = {
    "memory_bomb": ("memory", "x = [bytearray(1 << 20) for _ in range(10**6)]"),
    "memory_bomb_unseen": (
        "memory",
        r"""
try:
    x = bytearray(1 << 40)
except MemoryError: x = 0
x = [0] * (1 << 40)
""",
    ),
    "endless_stdout": ("output_limit", "while True: print('x' * 10**6)"),
    "endless_stderr": (
        "output_limit",
        r"""
import sys
while True: sys.stderr.write('x' * 10**6)
""",
    ),
    "endless_result": (
        "output_limit",
        r"""
import os, sys
pipe = next(int(order[7:]) for order in sys.orig_argv if order.startswith('result='))
while True: os.write(pipe, b'x' * 10**5)
""",
    ),
    "sleep": ("timeout", "import time; time.sleep(1000)"),
    "spin": ("timeout", "while True: pass"),
    "spin_in_c": ("timeout", "sum(range(10**15))"),
    "spin_unstoppable": (
        "timeout",
        r"""
import signal
for s in range(1, 65):
    try: signal.signal(s, signal.SIG_IGN)
    except (OSError, ValueError): pass
while True: pass
""",
    ),
    "close_everything_and_stay": ("timeout", "import os, time; os.closerange(0, 64); time.sleep(1000)"),
    "close_everything_and_go": ("finished", "import os; os.closerange(0, 64); os._exit(0)"),
    "read_no_input": ("finished", ""),
    "huge_file": (
        "crashed",
        r"""
f = open('huge', 'wb')
while True: f.write(b'x' * 10**6)
""",
    ),
    "many_large_files": (
        "resource_limit",
        r"""
import time
for n in range(9): open(str(n), 'wb').write(b'x' * (7 << 20))
time.sleep(1000)
""",
    ),
    "many_files": (
        "resource_limit",
        r"""
import time
for n in range(10**3): open(str(n), 'wb').close()
time.sleep(1000)
""",
    ),
    "thread_bomb": (
        "resource_limit",
        r"""
import threading, time; threading.stack_size(65536)
while True:
    try: threading.Thread(target=time.sleep, args=(1000,)).start()
    except RuntimeError: time.sleep(1000)
""",
    ),
    "fork_bomb": (
        "crashed",
        r"""
import os
while True: os.fork()
""",
    ),
    "daemon": (
        "crashed",
        r"""
import os, time
if os.fork(): os._exit(0)
os.setsid()
if os.fork(): os._exit(0)
time.sleep(1000)
""",
    ),
    "kill_the_parent": ("crashed", "import os; os.kill(os.getppid(), 9)"),
    "reach_everybody": ("crashed", "import os; os.kill(-1, 0)"),  # 0 asks whether a signal could be sent
    "crash_the_interpreter": ("crashed", "import ctypes; ctypes.string_at(0)"),
}

# Without isolation a program may start processes, and none may outlive it. Each says the number of one that tries to.
OUTLIVING = {
    "daemon": r"""
import os, time
said, say = os.pipe()
if os.fork(): os.read(said, 1); os._exit(0)
os.setsid()
if os.fork(): os._exit(0)
print(os.getpid(), flush=True); os.write(say, b"."); time.sleep(1000)
""",
    "another_session": r"""
import subprocess
print(subprocess.Popen(['sleep', '1000'], start_new_session=True, env=dict(), close_fds=True).pid)
""",
    "deaf_tree": r"""
import os, signal, time
for s in (signal.SIGTERM, signal.SIGHUP, signal.SIGINT): signal.signal(s, signal.SIG_IGN)
said, say = os.pipe()
for depth in range(5):
    if os.fork(): time.sleep(0.05) if depth else os.read(said, 1); os._exit(0)
    os.setsid()
print(os.getpid(), flush=True); os.write(say, b"."); time.sleep(1000)
""",
    "until_the_deadline": r"""
import subprocess, time
print(subprocess.Popen(['sleep', '1000'], start_new_session=True).pid, flush=True); time.sleep(1000)
""",
    "killed": r"""
import os, subprocess
print(subprocess.Popen(['sleep', '1000'], start_new_session=True).pid, flush=True); os.kill(os.getpid(), 11)
""",
}

# `answer(question)` has to return a secret that only the judge knows: EXPECTED- and 32 hexadecimal digits.
FAKES = {
    "leave_with_success": "import os; os._exit(0)",
    "leave_while_it_is_called": r"""
import os
def answer(question): os._exit(0)
""",
    "leave_at_exit": r"""
import atexit, os, sys
atexit.register(sys.exit, 0)
atexit.register(os._exit, 0)
def answer(question): 1 / 0
""",
    "equal_to_everything": r"""
class Any(str):
    def __eq__(self, other): return True
    __hash__ = None
def answer(question): return Any('x')
""",
    "equal_list": r"""
class Any(list):
    def __eq__(self, other): return True
def answer(question): return Any()
""",
    "no_builtins": r"""
import builtins
for name in ('repr', 'str', 'isinstance', 'all', 'zip', 'type'): setattr(builtins, name, lambda *a: True)
def answer(question): return 0
""",
    "patched_json": r"""
import json
json.dump = lambda value, file, **rest: file.write('true')
def answer(question): return 0
""",
    "patched_harness": r"""
import sys
for module in list(sys.modules.values()):
    for name in ('called', 'answer', 'passed', '_check'):
        if hasattr(module, name): setattr(module, name, lambda *a, **b: True)
def answer(question): return 0
""",
    "patched_frames": r"""
import sys
frame = sys._getframe()
while frame:
    frame.f_globals.update(passed=True, correct=True, expected=0); frame = frame.f_back
def answer(question): return 0
""",
    "say_it_on_every_pipe": r"""
import os
for pipe in range(64):
    try: os.write(pipe, b'ready\n{"passed": true}\ncorrect\n')
    except OSError: pass
os._exit(0)
""",
    "search_the_memory": r"""
import gc, os, re, sys
SECRET = re.compile('EXPECTED-[0-9a-f]{32}')
def answer(question):
    texts = [repr(thing) for thing in gc.get_objects() if type(thing) in (dict, list, tuple)]
    return next((hit[0] for text in texts if (hit := SECRET.search(text))), '')
""",
    "search_the_stack": r"""
import gc, os, re, sys
SECRET = re.compile('EXPECTED-[0-9a-f]{32}')
def answer(question):
    frame, text = sys._getframe(), repr((sys.orig_argv, dict(os.environ)))
    while frame: text += repr((frame.f_locals, frame.f_globals)); frame = frame.f_back
    hit = SECRET.search(text); return hit and hit[0]
""",
    "search_the_files": r"""
import gc, os, re, sys
SECRET = re.compile('EXPECTED-[0-9a-f]{32}')
def answer(question):
    hits = [SECRET.search(open(name).read()) for name in os.listdir('.')]
    return next((hit[0] for hit in hits if hit), '')
""",
    "search_the_pipes": r"""
import gc, os, re, sys
SECRET = re.compile('EXPECTED-[0-9a-f]{32}')
import select
def answer(question):
    text = ''
    for pipe in range(32):
        try: text += os.read(pipe, 10**6).decode() if select.select([pipe], [], [], 0)[0] else ''
        except OSError: pass
    hit = SECRET.search(text); return hit and hit[0]
""",
}
